"""A party's process, seen from the parent: one line of JSON goes in for each round, one comes out."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

_ROOT: Final = Path(__file__).resolve().parents[2]
_START_LIMIT: Final = 120.0
_STOP_LIMIT: Final = 10.0
_LONGEST_WORDS: Final = 300
_ONE_THREAD: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# The tree goes last on the path: in a peer's environment, the peer's own packages come first.
_BOOT: Final = "import runpy, sys; sys.path.append(sys.argv[1]); runpy.run_module(sys.argv[2], run_name='__main__')"


class PartyError(Exception):
    """A party failed; the text is what it said."""


class NotFinishedError(PartyError):
    """A party did not answer in time, and was stopped."""


def driver_command(python: Path, driver: str) -> list[str]:
    """How a driver of this package is run by an interpreter."""
    return [str(python), "-c", _BOOT, str(_ROOT), f"benchmarks.peers.{driver}"]


def _scratch_file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


class Process:
    """A party's process. As a context manager, it is stopped at the end.

    Args:
        command: runs `station.serve`.

    Attributes:
        versions: of what it runs, as it said when it started.

    Raises:
        PartyError: it did not start.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = _scratch_file()
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter or one we built, and our own driver
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=tempfile.gettempdir(),
            env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONNOUSERSITE": "1"},
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.versions: dict[str, str] = self._answer(_START_LIMIT)["versions"]
        except PartyError:
            self.close()
            raise

    def ask(self, task: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
        """Have a round played, and return what it took.

        Raises:
            NotFinishedError: no answer within the limit; the process is stopped.
            PartyError: the party is gone; the text ends in its last words.
        """
        if self._process.stdin is None or self._process.poll() is not None:
            raise PartyError("the process is gone")
        try:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise PartyError(f"the process ended: {self._last_words()}") from None
        return self._answer(limit_s)

    def close(self) -> None:
        """End the process: politely, then at once."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._kill()
        self._reader.join(_STOP_LIMIT)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        """Pass on every line; an empty one says that no more will come."""
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, limit_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=limit_s)
        except queue.Empty:
            self._kill()
            raise NotFinishedError(f"not finished in {limit_s:.0f} s") from None
        if not line:
            self._kill()  # it has closed its output, and may still be on its way out
            raise PartyError(f"the process ended: {self._last_words()}")
        try:
            answer = json.loads(line)
        except ValueError:
            raise PartyError(f"no JSON: {line[:80]!r}") from None
        if not isinstance(answer, dict):
            raise PartyError(f"no JSON object: {line[:80]!r}")
        return answer

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        """The last line of standard error, which is where an uncaught exception says what it is."""
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][-_LONGEST_WORDS:] if lines else "it said nothing"
