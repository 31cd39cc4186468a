"""Peers: the lines between parent and party, who is charged for what, the ratios, and the words beside them."""

from __future__ import annotations

import ast
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import results
from benchmarks.peers import catalog, cells, environment, figures, runner, station
from benchmarks.peers.catalog import FEATURES, FLWR, OURS, PARTIES, TENSEAL, Party
from benchmarks.peers.cells import FULL, GATES, SMALL, Cell, Selection
from benchmarks.peers.process import NotFinishedError, PartyError, Process, driver_command
from benchmarks.peers.station import SERVER, Meter, Task, WrongSumError
from benchmarks.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
TASK = Task(clients=10, length=64, dropped=1, degree=9, threshold=6, corrupt=1, active=True)

FAKE_PEER = """
import sys, time
sys.path.append({root!r})
import numpy as np
from benchmarks.peers.station import SERVER, serve

def play(task, meter):
    print("a library that talks", flush=True)
    if task.seed == 7:
        raise ValueError("no round today")
    if task.seed == 8:
        time.sleep(60)
    if task.seed == 9:
        raise SystemExit("gone")
    for client in task.survivors:
        with meter.on(client):
            meter.send(client, 4 * task.length)
    with meter.on(SERVER):
        return task.mean() if task.seed != 6 else np.zeros(task.length)

serve(play, distributions=("numpy",))
"""


class Ticks:
    """A clock that tells the seconds it is given, in turn."""

    def __init__(self, *times: float) -> None:
        self._times = iter(times)

    def __call__(self) -> float:
        return next(self._times)


@pytest.fixture
def fake_command(tmp_path: Path) -> list[str]:
    script = tmp_path / "fake_peer.py"
    script.write_text(FAKE_PEER.format(root=str(ROOT)), encoding="utf-8")
    return [sys.executable, str(script)]


@pytest.fixture
def fake(fake_command: list[str]) -> Iterator[Process]:
    with Process(fake_command) as process:
        yield process


def asked(seed: int) -> dict[str, object]:
    return asdict(replace(TASK, seed=seed))


# Lines.


def test_a_party_names_its_versions_and_answers_each_line(fake: Process) -> None:
    assert fake.versions == station.versions("numpy")
    first, second = fake.ask(asked(1), limit_s=30), fake.ask(asked(2), limit_s=30)
    assert first["uplink_bytes"] == second["uplink_bytes"] == 4 * TASK.length
    assert first["max_error"] == 0.0
    assert first["server_cpu_s"] >= 0.0


def test_what_a_library_prints_does_not_come_between_the_lines(fake: Process) -> None:
    assert "max_error" in fake.ask(asked(1), limit_s=30)  # the fake prints before it answers


def test_a_party_that_fails_says_why_and_is_gone(fake: Process) -> None:
    with pytest.raises(PartyError, match=r"^the process ended: ValueError: no round today$"):
        fake.ask(asked(7), limit_s=30)
    with pytest.raises(PartyError, match="gone"):
        fake.ask(asked(1), limit_s=30)


def test_a_wrong_sum_is_no_measurement(fake: Process) -> None:
    with pytest.raises(PartyError, match=r"^the process ended: .*WrongSumError: the mean is off by"):
        fake.ask(asked(6), limit_s=30)


def test_a_party_out_of_time_is_stopped_and_said_to_be_unfinished(fake: Process) -> None:
    with pytest.raises(NotFinishedError, match=r"^not finished in 0 s$"):
        fake.ask(asked(8), limit_s=0.2)
    with pytest.raises(PartyError, match="gone"):
        fake.ask(asked(1), limit_s=30)


def test_a_party_that_dies_leaves_its_last_words(fake: Process) -> None:
    with pytest.raises(PartyError, match=r"^the process ended: gone$"):
        fake.ask(asked(9), limit_s=30)


def test_a_party_that_does_not_start_is_refused() -> None:
    with pytest.raises(PartyError, match="no such driver"):
        Process([sys.executable, "-c", "raise SystemExit('no such driver')"])


def test_lines_that_are_no_answers_are_refused() -> None:
    for said, reason in (("hello", "no JSON"), ("[1]", "no JSON object")):
        with pytest.raises(PartyError, match=reason):
            Process([sys.executable, "-c", f"print({said!r})"])


# Who is charged.


def test_only_the_inner_party_is_charged() -> None:
    meter = Meter(clock=Ticks(0.0, 1.0, 3.0, 7.0))
    with meter.on(SERVER), meter.on(4):
        pass
    assert meter.spent == {SERVER: 1.0 + 4.0, 4: 2.0}


def test_nobody_is_charged_where_nobody_is_on() -> None:
    meter = Meter(clock=Ticks(0.0, 1.0, 3.0, 7.0))
    with meter.on(SERVER), meter.on(None):
        pass
    assert meter.spent == {SERVER: 5.0}


def test_set_up_is_counted_apart() -> None:
    meter = Meter(clock=Ticks(0.0, 2.0), setting_up=True)
    with meter.on(1):
        pass
    assert (meter.setup, meter.spent) == ({1: 2.0}, {})


def test_work_on_masks_is_counted_for_whoever_is_on_and_within_its_time() -> None:
    meter = Meter(clock=Ticks(0.0, 1.0, 4.0, 6.0, 9.0, 10.0))
    expand = meter.masking(lambda words: words + 1)
    with meter.on(3):
        assert expand(1) == 2
    assert (meter.masks, meter.spent) == ({3: 3.0}, {3: 6.0})
    assert expand(2) == 3
    assert meter.masks == {3: 3.0}


def test_medians_are_of_the_clients_in_the_sum() -> None:
    def play(task: Task, meter: Meter) -> np.ndarray:
        for client in range(task.clients):
            meter.spent[client] = 100.0 if client < task.dropped else float(client)
            meter.uplink[client] = 10 * client
        meter.setup[5] = 2.5
        return task.mean()

    taken = station.measure(play, TASK)
    assert taken["client_cpu_s"] == 5.0  # of 1 to 9
    assert taken["uplink_bytes"] == 50
    assert taken["client_setup_cpu_s"] == 2.5


def test_a_mean_a_little_off_is_refused() -> None:
    near, far = station.TOLERANCE * 0.99, station.TOLERANCE * 1.01
    station.measure(lambda task, meter: task.mean() + near, TASK)
    with pytest.raises(WrongSumError):
        station.measure(lambda task, meter: task.mean() + far, TASK)
    with pytest.raises(WrongSumError):
        station.measure(lambda task, meter: task.mean() * np.nan, TASK)


def test_every_party_has_the_same_vectors() -> None:
    assert np.array_equal(TASK.vector(3), replace(TASK, dropped=3, threshold=7).vector(3))
    assert not np.array_equal(TASK.vector(3), TASK.vector(4))
    assert np.linalg.norm(replace(TASK, length=10_000).vector(1)) == pytest.approx(1.0, abs=0.05)
    assert np.allclose(TASK.mean(), np.mean([TASK.vector(client) for client in range(1, 10)], axis=0))


# Ratios.


def test_ratios_are_peer_over_ours_and_left_out_where_there_is_nothing() -> None:
    ours = {
        "client_cpu_s": 2.0,
        "server_cpu_s": 4.0,
        "client_masks_cpu_s": 1.0,
        "uplink_bytes": 10,
        "server_masks_cpu_s": 0.0,
    }
    peer = {
        "client_cpu_s": 6.0,
        "server_cpu_s": 2.0,
        "client_masks_cpu_s": 0.0,
        "uplink_bytes": 25,
        "server_masks_cpu_s": 1.0,
    }
    assert figures.ratios(peer, ours) == {"client_ratio": 3.0, "server_ratio": 0.5, "uplink_ratio": 2.5}


def test_a_summary_has_medians_and_spread_and_the_first_peaks() -> None:
    def one(cpu: float, peak: int | None) -> dict[str, float | int | None]:
        return {"client_cpu_s": cpu, "server_cpu_s": 2 * cpu, "uplink_bytes": 7, "client_peak_bytes": peak}

    found = figures.summary([one(3.0, 500), one(1.0, 0), one(2.0, 0)])
    assert found["rounds"] == 3
    assert (found["client_cpu_s_least"], found["client_cpu_s"], found["client_cpu_s_most"]) == (1.0, 2.0, 3.0)
    assert (found["server_cpu_s_least"], found["server_cpu_s"], found["server_cpu_s_most"]) == (2.0, 4.0, 6.0)
    assert (found["uplink_bytes"], found["client_peak_bytes"]) == (7, 500)
    assert figures.summary([one(1.0, None)])["client_peak_bytes"] is None


# A whole selection, between fakes.


def fake_cell(*peers: Party) -> Cell:
    return Cell(clients=10, length=64, dropped_percent=10, peers=peers)


def test_a_selection_is_played_in_turn_and_comes_to_one_document(
    fake_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(party: Party) -> Process:
        started.append(party.name)
        return Process(fake_command)

    selection = Selection(name="fake", cells=(fake_cell(FLWR, TENSEAL),), limit_s=30, rounds=2)
    report = runner.play(selection, start=start)
    assert started == ["ours", "flwr_secagg", "tenseal_ckks"]
    (played,) = report.cells
    assert {name: party["rounds"] for name, party in played["parties"].items()} == dict.fromkeys(started, 2)
    assert report.figures["flwr_secagg_n10_6e1_drop10_uplink_ratio"] == 1.0
    monkeypatch.setattr(results, "DIRECTORY", tmp_path)
    kept, beside = report.keep("a command")
    assert results.load()["peers"].figures == report.figures
    assert kept.parent == tmp_path
    document = json.loads(beside.read_text(encoding="utf-8"))
    assert {"benchmark", "command", "machine", "date", "figures", "cells"} <= document.keys()
    assert document["features"]["ours"] == dict(OURS.features)


def test_a_party_that_cannot_play_stands_in_the_report_and_stops_nobody(fake_command: list[str]) -> None:
    def start(party: Party) -> Process:
        if party is TENSEAL:
            raise environment.BuildError("nothing to install")
        return Process(fake_command)

    selection = Selection(name="fake", cells=(fake_cell(TENSEAL, FLWR),), limit_s=30, rounds=1)
    report = runner.play(selection, start=start)
    assert report.figures["tenseal_ckks_n10_6e1_drop10_client_ratio"] == "nothing to install"
    assert report.figures["flwr_secagg_n10_6e1_drop10_uplink_ratio"] == 1.0


def test_an_unfinished_cell_says_so_instead_of_a_ratio(
    fake_command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Cell(clients=10, length=64, dropped_percent=0, peers=(FLWR,))
    as_asked = Process.ask

    def ask(self: Process, task: dict[str, object], *, limit_s: float) -> dict[str, object]:
        measured = task["length"] == slow.length
        return as_asked(self, {**task, "seed": 8 if measured else 1}, limit_s=0.2 if measured else limit_s)

    monkeypatch.setattr(Process, "ask", ask)
    report = runner.play(
        Selection(name="fake", cells=(slow,), limit_s=30, rounds=2), start=lambda party: Process(fake_command)
    )
    assert report.figures == {
        "flwr_secagg_n10_6e1_drop0_client_ratio": "not finished in 0 s",
        "flwr_secagg_n10_6e1_drop0_server_ratio": "not finished in 0 s",
    }


# What is played.


def test_our_driver_comes_to_the_mean() -> None:
    with Process(driver_command(Path(sys.executable), OURS.driver)) as process:
        sparse = Cell(clients=50, length=64, dropped_percent=10, sparse=True, peers=())
        for cell in (fake_cell(), sparse):
            taken = process.ask(asdict(cell.task), limit_s=60)
            assert taken["max_error"] <= station.STEP
            assert 0.0 < taken["client_masks_cpu_s"] < taken["client_cpu_s"]
            assert 0.0 < taken["server_masks_cpu_s"] < taken["server_cpu_s"]


def test_every_cell_of_the_table_is_in_the_full_selection() -> None:
    wanted = set(itertools.product((10, 50, 100), (10**4, 10**5, 10**6), (0, 10, 30)))
    for peer in (FLWR, TENSEAL):
        assert {(c.clients, c.length, c.dropped_percent) for c in FULL.cells if peer in c.peers} == wanted
    declearn = {(c.clients, c.length, c.dropped_percent) for c in FULL.cells if catalog.DECLEARN in c.peers}
    assert declearn == {cell for cell in wanted if cell[2] == 0}


def test_every_target_among_the_peers_is_measured_by_the_gates() -> None:
    measured = {
        f"{peer.name}_{cell.label}_{side}_ratio"
        for cell in GATES.cells
        for peer in cell.peers
        for side in ("client", "server")
    }
    wanted = {target.source[1] for target in TARGETS if target.source[0] == runner.NAME}
    assert len(wanted) == 8
    assert wanted <= measured
    assert set(SMALL.cells) <= set(GATES.cells)


@pytest.mark.parametrize("cell", FULL.cells, ids=lambda cell: cell.label)
def test_a_cells_task_is_one_that_every_scheme_can_play(cell: Cell) -> None:
    task = cell.task
    assert task.dropped == task.clients * cell.dropped_percent // 100
    assert task.threshold <= len(task.survivors)
    assert 2 * task.threshold > task.clients + task.corrupt or cell.sparse
    assert cell.parties[0] is OURS


def test_labels_are_plain() -> None:
    labels = [cell.label for cell in FULL.cells if not cell.sparse]
    assert len(set(labels)) == len(labels)
    assert cells.GATES.cells[-1].label == "n100_1e6_drop10"


# Words.


def test_every_party_has_a_word_for_every_feature() -> None:
    assert len(PARTIES) == 5
    for party in PARTIES.values():
        assert set(party.features) == set(FEATURES), party.name
        assert all(party.features.values()), party.name


@pytest.mark.parametrize("word", ["weak", "insecure", "broken", "unsafe", "slow", "flaw", "bug", "only"])
def test_features_are_told_without_judging(word: str) -> None:
    for party in PARTIES.values():
        for feature, text in party.features.items():
            assert word not in text.lower(), (party.name, feature)


def test_every_party_has_its_driver_and_every_peer_its_own_environment() -> None:
    folder = ROOT / "benchmarks" / "peers"
    for party in PARTIES.values():
        assert (folder / f"{party.driver}.py").is_file()
        assert bool(party.requirements) == (party is not OURS)


def test_no_host_is_named() -> None:
    for path in (ROOT / "benchmarks" / "peers").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "http" not in text, path
        assert "index-url" not in text, path


@pytest.mark.parametrize("name", ["__init__.py", "station.py"])
def test_what_runs_in_a_peers_environment_needs_numpy_and_nothing_else(name: str) -> None:
    tree = ast.parse((ROOT / "benchmarks" / "peers" / name).read_text(encoding="utf-8"))
    imported = {
        module.partition(".")[0]
        for node in tree.body
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {"numpy", *sys.stdlib_module_names}


# Environments.


def test_ours_runs_where_the_benchmark_runs() -> None:
    assert environment.python_of(()) == Path(sys.executable)


def test_an_environment_is_built_once_and_outside_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str]) -> str:
        ran.append(command)
        return "a-peer==1.0\n"

    monkeypatch.setattr(environment, "_run", run)
    monkeypatch.setattr("venv.create", lambda home, **options: Path(home).mkdir(parents=True))
    monkeypatch.setenv(environment.CACHE, str(tmp_path))
    first, second = environment.python_of(("a-peer",)), environment.python_of(("a-peer",))
    assert first == second
    assert tmp_path in first.parents
    assert [command[-1] for command in ran] == ["a-peer", "freeze"]


def test_an_environment_that_failed_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []

    def refuse(command: list[str]) -> str:
        raise environment.BuildError("no such package")

    monkeypatch.setattr(environment, "_run", refuse)
    monkeypatch.setattr("venv.create", lambda home, **options: tries.append(home))
    for _ in range(2):
        with pytest.raises(environment.BuildError, match="no such package"):
            environment.python_of(("a-peer",), folder=tmp_path)
    assert len(tries) == 2


def test_the_cache_is_the_users_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environment.CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.cache_folder() == tmp_path / "secagg-peers"
    assert ROOT not in environment.cache_folder().parents
