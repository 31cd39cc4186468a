"""A masked input on its way out: one message a chunk, each made when it is asked for.

Promise: no chunk is made twice, because two inputs under one mask would tell their difference; and the keys of the
masks are overwritten when the last chunk is made, when one fails, or when nobody will ask for more.

Imports the config, the errors, the kernel and the primitive `secret`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from secagg import masking
from secagg.config import RoundConfig
from secagg.errors import MisuseError
from secagg.primitives.secret import Secret
from secagg.ring import Ring

Seal = Callable[[int, bytearray], None]
"""Called with each message's chunk number and its bytes, to fill in what stands behind the words."""


class MaskSource(Protocol):
    """Where a client's input comes from, a range at a time, so it never stands in memory twice."""

    @property
    def length(self) -> int:
        """Coordinates in the input."""
        ...

    @property
    def ring(self) -> Ring:
        """The ring its words were made for."""
        ...

    def read(self, start: int, stop: int) -> npt.NDArray[np.unsignedinteger]:
        """Return a fresh, writable array of the ring words of coordinates start..stop-1."""
        ...


@runtime_checkable
class InstructedSource(Protocol):
    """A source whose words depend on what the client executes, as a noised input's do on the rotation."""

    @property
    def instructions_digest(self) -> bytes | None:
        """The digest of the instructions its words were made by; None where they depend on none."""
        ...


@runtime_checkable
class RecipeSource(Protocol):
    """A source that says which recipe its words were made by: what was clipped, and which noise is in them."""

    @property
    def recipe_digest(self) -> bytes:
        """The recipe's digest."""
        ...


class MaskedMessages(Iterator[bytearray]):
    """The messages of one masked input, in order. Each chunk's words are written once, where they are sent from.

    Args:
        source: the input.
        config: the round.
        plus: keys of the masks to add; wiped here.
        minus: keys of the masks to subtract; wiped here.
        fronts: header, body and gap of each chunk's message.
        room_behind: bytes left blank behind each chunk.
        seal: fills them in.
        executor: threads to expand masks on, or None.
        workers: how many of them.
    """

    __slots__ = (
        "_config",
        "_executor",
        "_fronts",
        "_made",
        "_masks",
        "_numbers",
        "_room",
        "_seal",
        "_source",
        "_workers",
    )

    def __init__(
        self,
        source: MaskSource,
        *,
        config: RoundConfig,
        plus: Sequence[Secret],
        minus: Sequence[Secret],
        fronts: Sequence[bytes],
        room_behind: int = 0,
        seal: Seal | None = None,
        executor: Executor | None = None,
        workers: int = 1,
    ) -> None:
        self._source: MaskSource | None = source
        self._config = config
        self._masks = (plus, minus)
        self._fronts = fronts
        self._room = room_behind
        self._seal = seal
        self._executor = executor
        self._workers = workers
        self._numbers = iter(range(len(fronts)))
        self._made = 0

    @property
    def complete(self) -> bool:
        """Whether every chunk was made."""
        return self._made == len(self._fronts)

    def __next__(self) -> bytearray:
        """Make the next chunk's message.

        Each number is drawn once and before its chunk is made, so that whoever asks meanwhile, the source itself or
        another thread, cannot have the same chunk made from other words.

        Raises:
            StopIteration: the last one was made.
            MisuseError: the iterator was closed before that, while this chunk was made perhaps; the last one is being
                made; or as for `InputError`.
            InputError: the source yields a word outside the ring.
        """
        if self.complete:
            raise StopIteration
        index = next(self._numbers, None)
        if index is None:
            raise MisuseError("the masked input was given up before its last chunk was made, or it is being made")
        message: bytearray | None = None
        try:
            message = self._make(index)
            self._made += 1
        finally:
            if message is None or self.complete:  # it failed, or it was the last one
                self.close()
        return message

    def close(self) -> None:
        """Wipe the keys; what was not made is never made. Closing twice is harmless."""
        self._source = None
        for key in (*self._masks[0], *self._masks[1]):
            key.wipe()

    def _make(self, index: int) -> bytearray:
        start, stop = self._config.chunk_range(index)
        front, size = self._fronts[index], self._config.ring.packed_size(stop - start)
        message = bytearray(len(front) + size + self._room)
        message[: len(front)] = front
        masking.mask_input(
            self._require_open().read,
            ring=self._config.ring,
            length=stop - start,
            start=start,
            plus=self._masks[0],
            minus=self._masks[1],
            out=memoryview(message)[len(front) : len(front) + size],
            executor=self._executor,
            workers=self._workers,
        )
        self._require_open()
        if self._seal is not None:
            self._seal(index, message)
        return message

    def _require_open(self) -> MaskSource:
        if self._source is None:
            raise MisuseError("the masked input was given up before its last chunk was made")
        return self._source

    def __repr__(self) -> str:
        return f"<MaskedMessages, {self._made} of {len(self._fronts)} made>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("a masked input is never pickled or copied: a copy could mask a second input")
