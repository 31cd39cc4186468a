"""Fixtures of several files of this folder."""

from __future__ import annotations

import pytest

from secagg.primitives import prg


@pytest.fixture(params=["by GCM", "in counter mode"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of making a stream, whichever is faster here."""
    faster = request.param == "by GCM"
    monkeypatch.setattr(prg, "gcm_is_faster", lambda: faster)
