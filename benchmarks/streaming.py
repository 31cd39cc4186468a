"""A round of very long inputs, every party in a process of its own, so that the system can say what each one held.

Clients hand their input over as a `Stream`, the server keeps open uploads in files. This process only carries bytes.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.spool import DirectorySpool
from protocols import Recipe
from secagg import ClientRound, Finished, MemoryDirectory, NeedInput, Plan, RoundConfig, Send, ServerRound
from secagg.errors import MisuseError
from secagg.round.events import Stream
from secagg.testing.entropy import fixed_identity
from secagg.types import Leg

PLAN = Plan.find(clients=3, max_dropped=0, max_corrupt=0)
NAMES = [f"client-{number}" for number in range(PLAN.clients)]
CHECKED = 1_000_000

Figures = dict[str, float]


def play(length: int) -> Figures:
    """Sum three updates of `length` coordinates, check the beginning of the mean, and say who held how many bytes."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        lines: dict[str, Connection] = {}
        for name in ("server", *NAMES):
            lines[name], far = context.Pipe()
            context.Process(target=_party, args=(name, length, directory, far), daemon=True).start()
            far.close()
        for name in NAMES:
            lines[name].recv()  # its update is made
        _carry(lines)
        server = _ask(lines["server"], ("end",))
        clients = [_ask(lines[name], ("end",)) for name in NAMES]
    return {
        **server,
        "long_client_update_bytes": 4 * length,
        "long_client_output_bytes": clients[0]["output"],
        "long_client_beyond_update_bytes": max(client["beyond_update"] for client in clients),
        "long_client_cpu_s": max(client["cpu"] for client in clients),
    }


def _carry(lines: dict[str, Connection]) -> None:
    """Carry every request to its client and every answer to the server, one message at a time."""
    server = lines["server"]
    pending = _ask(server, ("start",))
    while pending:
        for name, data in pending:
            lines[name].send(("take", data))
            while answer := lines[name].recv_bytes():
                server.send(("receive", name))
                server.send_bytes(answer)
        pending = _ask(server, ("close",))


def _ask(line: Connection, request: tuple[str, ...]) -> Any:
    line.send(request)
    return line.recv()


def _party(name: str, length: int, directory: str, line: Connection) -> None:
    if name == "server":
        _serve(length, Path(directory), line)
    else:
        _be_client(name, length, line)


def _setting(length: int) -> tuple[Recipe, MemoryDirectory, RoundConfig]:
    like = np.broadcast_to(np.float32(0), (length,))
    recipe = Recipe.like({"update": like}, clip=1.0)
    directory = MemoryDirectory({name: fixed_identity(name).public for name in NAMES})
    config = RoundConfig.create(session=bytes(16), round=1, plan=PLAN, invited=tuple(NAMES), recipe=recipe)
    return recipe, directory, config


def _update(name: str, length: int) -> npt.NDArray[np.float32]:
    update = np.random.default_rng(NAMES.index(name)).standard_normal(length, dtype=np.float32)  # of nobody
    update *= np.float32(1e-6)
    return update


def _be_client(name: str, length: int, line: Connection) -> None:
    recipe, directory, config = _setting(length)
    update = _update(name, length)
    client = ClientRound(client=name, identity=fixed_identity(name), directory=directory, recipe=recipe, stream=True)
    held, begun = _status("VmHWM"), _cpu()
    line.send("ready")
    while (request := line.recv())[0] == "take":
        events = client.receive(request[1])
        if any(isinstance(event, NeedInput) for event in events):
            events = client.provide(recipe.encode({"update": update}, ring=config.ring))
        for event in events:
            for message in _messages(event):
                line.send_bytes(message)
        line.send_bytes(b"")
    beyond = _status("VmHWM") - held
    line.send({"beyond_update": beyond, "output": config.ring.packed_size(length), "cpu": _cpu() - begun})


def _messages(event: object) -> Iterator[bytes | bytearray]:
    if isinstance(event, Send):
        yield event.data
    elif isinstance(event, Stream):
        yield from event.messages


def _serve(length: int, directory: Path, line: Connection) -> None:
    recipe, identities, config = _setting(length)
    server = ServerRound(config, invited=NAMES, directory=identities, spool=DirectorySpool(directory))
    before, begun, summed = _status("VmHWM"), _cpu(), 0
    while (request := line.recv())[0] != "end":
        if request[0] == "receive":
            if refused := server.receive(request[1], line.recv_bytes()):
                raise MisuseError(f"a message of the benchmark was refused: {refused}")
            continue
        if server.leg is Leg.MASK:
            summed = _status("VmHWM") - before
        events = server.start() if request[0] == "start" else server.close_leg()
        line.send([(event.to, bytes(event.data)) for event in events if isinstance(event, Send)])
    (outcome,) = server.recover()
    recovered, cpu = _status("VmHWM") - before, _cpu() - begun
    if not isinstance(outcome, Finished) or outcome.aggregate is None:
        raise MisuseError(f"the round of the benchmark failed: {outcome}")
    checked = min(length, CHECKED)
    truth = sum(_update(name, checked).astype(np.float64) for name in NAMES)
    if np.abs(outcome.aggregate.values[:checked] * recipe.step - truth).max() > PLAN.clients * recipe.step:
        raise MisuseError("the round of the benchmark came to a wrong sum")
    line.send(
        {
            "long_server_sum_bytes": length * config.ring.word_bytes,
            "long_server_receiving_bytes": summed,
            "long_server_recovering_bytes": recovered,
            "long_server_cpu_s": cpu,
        }
    )


def _status(name: str) -> int:
    """A size of this process, from Linux, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _cpu() -> float:
    return time.process_time()
