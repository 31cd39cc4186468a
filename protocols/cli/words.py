"""What the verbs share: what a verb is, exit codes, an error of their own, and the form of a JSON line.

Imports the errors of `protocols` and the standard library.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from protocols.errors import ProtocolError

FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130
UNREAD: Final = 141

EXIT_CODES: Final = """\
exit codes:
  0    well
  1    something failed, and one line on stderr says what; or doctor has found
       a problem
  2    a setting is wrong or an extra is missing; one line on stderr names the
       fix
  130  interrupted
  141  whoever read the output has stopped reading"""

Figure = str | int | float | bool | None


class MissingExtra(ProtocolError, ImportError):
    """A verb needs a package that only an extra installs; the text names the extra."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One thing that `secagg` does.

    Attributes:
        name: what is typed.
        summary: its line in the list of verbs.
        description: the first paragraph of its help.
        epilog: what its help says under the options, in front of the exit codes.
        options: describes its options to a parser.
        run: does it and returns the exit code.
    """

    name: str
    summary: str
    description: str
    epilog: str = ""
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def json_line(figures: Mapping[str, Figure | Sequence[Mapping[str, Figure]] | Sequence[str]]) -> str:
    """Write one JSON object in one line; JSON has no infinities and no NaN, so neither may be among the figures."""
    return json.dumps(figures, allow_nan=False)
