"""flwr's party: its own SecAgg and SecAgg+ workflows on the server, its own mods on the clients, messages handed over.

Runs in flwr's own environment. Nothing of the protocol is written here: keys, shares, quantization, masks and their
removal are `SecAggWorkflow`, `SecAggPlusWorkflow` and the mods. What stands in for the rest of the framework is a grid
that hands messages over and an app that returns the client's vector. Encoding of messages for a transport and training
are charged to nobody; the averaging strategy that follows the sum is charged apart.
"""

# mypy: disable-error-code="import-not-found, misc"
# flwr is installed where this module runs, which is not where it is type-checked.

from __future__ import annotations

import contextlib
import importlib
import logging
import random
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secagg_mod, secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.serde import recorddict_to_proto
from flwr.compat.common import recorddict_compat
from flwr.server import LegacyContext
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow, SecAggWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.peers.station import CLIP, SERVER, STEP, STRATEGY, Meter, Task, Vector, serve

_LEVELS = int(2 * CLIP / STEP)
_RUN = 1
_MASKS = ("pseudo_rand_gen", "parameters_addition", "parameters_subtraction")


def play(task: Task, meter: Meter) -> npt.NDArray[Any]:
    """One round of flwr."""
    complete = task.degree == task.clients - 1
    settings = {"max_weight": 1.0, "clipping_range": CLIP, "quantization_range": _LEVELS}
    strategy = _KeepSum(meter, task.clients)
    grid = _Grid(task, meter, secagg_mod if complete else secaggplus_mod)
    manager = SimpleClientManager()
    for node in grid.nodes:
        manager.register(GridClientProxy(node_id=node, grid=grid, run_id=_RUN))
    context = LegacyContext(_context(0), strategy=strategy, client_manager=manager)
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    context.state.array_records[MAIN_PARAMS_RECORD] = ArrayRecord()
    with _counting_masks(meter, grid), meter.on(SERVER):
        workflow = (
            SecAggWorkflow(task.threshold, **settings)
            if complete
            else SecAggPlusWorkflow(task.degree + 1, task.threshold, **settings)
        )
        workflow(grid, context)
    if strategy.mean is None:
        raise RuntimeError("the workflow halted before its end")
    return strategy.mean


@contextlib.contextmanager
def _counting_masks(meter: Meter, grid: _Grid) -> Iterator[None]:
    """Count time spent on masks: what clients add, and what the server takes off once it has asked for shares."""
    client_module = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    server_module = importlib.import_module("flwr.server.workflow.secure_aggregation.secaggplus_workflow")
    with contextlib.ExitStack() as patches:
        for name in _MASKS:
            function = getattr(client_module, name)
            patches.enter_context(mock.patch.object(client_module, name, meter.masking(function)))
            function = getattr(server_module, name)
            timed = meter.masking(function)

            def choose(*args: Any, function: Any = function, timed: Any = timed) -> Any:
                return (timed if grid.unmasking else function)(*args)

            patches.enter_context(mock.patch.object(server_module, name, choose))
        yield


def _context(node: int) -> Context:
    return Context(run_id=_RUN, node_id=node, node_config={}, state=RecordDict(), run_config={})


class _KeepSum(FedAvg):
    """The averaging strategy, asking every client; it keeps what the workflow gives it, which is the mean already."""

    def __init__(self, meter: Meter, clients: int) -> None:
        super().__init__(fraction_fit=1.0, min_fit_clients=clients, min_available_clients=clients)
        self._meter = meter
        self.mean: npt.NDArray[Any] | None = None

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        """Keep the first client's copy of the mean, as every client has the same; then average, charged apart."""
        with self._meter.on(None):
            (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
        with self._meter.on(STRATEGY):
            return super().aggregate_fit(server_round, results, failures)


class _Grid:
    """Hands the server's messages to the clients' mods, and their replies back."""

    def __init__(self, task: Task, meter: Meter, mod: Any) -> None:
        self._task, self._meter, self._mod = task, meter, mod
        self.nodes = {random.getrandbits(62) + 1: number for number in range(task.clients)}
        self._contexts = {node: _context(node) for node in self.nodes}
        self.unmasking = False

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Play one stage of every client."""
        del timeout
        with self._meter.on(None):
            replies = [self._deliver(message) for message in messages]
        return [reply for reply in replies if reply is not None]

    def _deliver(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        number = self.nodes[node]
        stage = message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
        self.unmasking = stage == Stage.UNMASK
        masking = stage == Stage.COLLECT_MASKED_VECTORS
        if masking and number < self._task.dropped:
            return None
        self._meter.receive(number, _size(message))
        message = _copied(message)
        answer = _trained(message, self._task.vector(number)) if masking else None
        watched = self._meter.peak.of_client() if masking else contextlib.nullcontext()
        with watched, self._meter.on(number):
            reply = self._mod(message, self._contexts[node], lambda *_: answer)
        self._meter.send(number, _size(reply))
        return reply


def _copied(message: Message) -> Message:
    """The message as the client would have it: records of its own, which the mod may take apart."""
    records = {name: ConfigRecord(dict(record)) for name, record in message.content.config_records.items()}
    content = RecordDict({**dict(message.content.array_records), **records})
    return Message(
        content=content,
        dst_node_id=message.metadata.dst_node_id,
        message_type=message.metadata.message_type,
        group_id=message.metadata.group_id,
    )


def _size(message: Message) -> int:
    return int(recorddict_to_proto(message.content).ByteSize())


def _trained(message: Message, vector: Vector) -> Message:
    """What the client's app answers when it has trained."""
    result = FitRes(
        status=Status(code=Code.OK, message=""),
        parameters=ndarrays_to_parameters([vector]),
        num_examples=1,
        metrics={},
    )
    return Message(recorddict_compat.fitres_to_recorddict(result, keep_input=False), reply_to=message)


def _quiet_server() -> None:
    """Be the process a server app runs in, and say errors only."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN, 1


if __name__ == "__main__":
    _quiet_server()
    serve(play, distributions=("flwr", "numpy", "cryptography", "pycryptodome"))
