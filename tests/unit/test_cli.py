"""The command line: what it prints, what it refuses and how, and that nothing typed ends in a traceback."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from protocols.cli import doctor, main
from protocols.demo import digits, flights
from protocols.demo.secure import Federation
from protocols.demo.task import DataFileError
from secagg import Adversary, Plan, StorageError, cost, field, masking

ROOT = Path(__file__).parents[2]
SMALL = ["demo", "digits", "--clients", "9", "--rounds", "2", "--dropout", "0.3"]
PLAN = ["plan", "--clients", "9", "--max-dropped", "1", "--max-corrupt", "1"]
CAPSYS = pytest.CaptureFixture[str]

# Output is buffered, as it is where nobody asked otherwise.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

COMMON_KEYS = {
    "task",
    "quality",
    "clients",
    "rounds",
    "rounds_aborted",
    "dropped_total",
    "dropped_before_input",
    "uplink_bytes_per_client",
    "downlink_bytes_per_client",
    "seed",
    "adversary",
    "degree",
    "threshold",
    "quorum",
    "ring_bits",
    "length",
    "seconds",
}


def last_json(text: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(text.splitlines()[-1])
    return figures


def run_apart(arguments: Sequence[str], *, prelude: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    code = f"{prelude}\nimport sys\nfrom protocols.cli import main\nsys.exit(main({list(arguments)!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603  # our own interpreter


# demo.


@pytest.mark.parametrize("adversary", [member.value for member in Adversary])
def test_the_last_line_of_a_json_demo_is_one_object_with_exact_books(capsys: CAPSYS, adversary: str) -> None:
    assert main([*SMALL, "--adversary", adversary, "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    figures = last_json(out)
    plan = Plan.find(clients=9, max_dropped=3, max_corrupt=1, adversary=adversary)
    assert figures.keys() >= COMMON_KEYS
    assert (figures["clients"], figures["rounds"], figures["seed"]) == (9, 2, 0)
    assert figures["adversary"] == adversary
    assert [
        figures[name] for name in ("degree", "threshold", "quorum", "min_survivors", "max_dropped", "max_corrupt")
    ] == [
        plan.degree,
        plan.threshold,
        plan.quorum,
        6,
        3,
        1,
    ]
    assert figures["dropped_total"] == 2 * 3
    assert 0 <= figures["dropped_before_input"] <= figures["dropped_total"]
    assert figures["masked_words"] == figures["length"] * (2 * 9 - figures["dropped_before_input"])
    assert 0.0 < figures["largest_difference"] <= figures["rounding_step"]
    assert figures["quality"] == "accuracy"
    assert abs(figures["accuracy_federated"] - figures["accuracy_plain_sum"]) <= 2 / 360
    assert figures["accuracy_lone_mean"] < figures["accuracy_federated"] < figures["accuracy_pooled"]
    assert figures["seconds"] > 0
    assert len(re.findall(r"^round \d/2: ", err, re.MULTILINE)) == 2


def test_the_flights_are_the_default_and_their_quality_is_an_auc(capsys: CAPSYS) -> None:
    assert main(["demo", "--clients", "12", "--rounds", "1", "--json", "--seed-data", "5"]) == 0
    figures = last_json(capsys.readouterr().out)
    assert figures.keys() >= COMMON_KEYS | {"auc_pooled", "auc_federated", "auc_lone_mean", "auc_plain_sum"}
    assert (figures["task"], figures["quality"], figures["seed"]) == ("flights", "auc", 5)
    assert figures["dropped_total"] == round(0.2 * 12)
    assert abs(figures["auc_federated"] - figures["auc_plain_sum"]) < 1e-3
    assert 0.5 < figures["auc_lone_mean"] < figures["auc_pooled"] < 1.0


def test_without_a_terminal_progress_and_report_are_plain_lines(capsys: CAPSYS, tmp_path: Path) -> None:
    image = tmp_path / "seen.svg"
    assert main([*SMALL, "--picture", str(image)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    for heading in ("Quality", "What the server saw", "What the server learned", "Who dropped out", "Limits"):
        assert re.search(f"^{heading}", out, re.MULTILINE)
    assert image.read_text(encoding="utf-8").startswith("<svg")


def test_rounds_that_lose_more_than_the_plan_allows_are_counted_and_no_error(capsys: CAPSYS, tmp_path: Path) -> None:
    image = tmp_path / "seen.svg"
    assert main([*SMALL, "--rounds", "1", "--max-dropped", "0.0", "--picture", str(image), "--json"]) == 0
    out, err = capsys.readouterr()
    figures = last_json(out)
    assert figures["rounds_aborted"] == figures["rounds"] == 1
    assert figures["dropped_total"] == 3
    assert figures["dropped_before_input"] == 0
    assert figures["uplink_bytes_per_client"] is figures["downlink_bytes_per_client"] is None
    assert "no sum, at leg" in err
    assert "no picture: no round gave a sum" in err
    assert not image.exists()


def test_the_defaults_in_the_help_are_those_of_the_tasks(capsys: CAPSYS) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    by_flights, by_digits = flights.load().defaults, digits.load().defaults
    assert f"(flights: {by_flights.clients}, digits: {by_digits.clients})" in text
    assert f"(flights: {by_flights.rounds}, digits: {by_digits.rounds})" in text
    assert f"({by_flights.dropout})" in text
    assert by_digits.dropout == by_flights.dropout


# What is refused.


def check_refused(capsys: CAPSYS, arguments: Sequence[str], *named: str) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"secagg {arguments[0]}: error: ")
    assert len(err.splitlines()) == 1
    for word in named:
        assert word in err


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("--dropout 0.7", ["max_dropped=10 allows 4", "that is --dropout 0.35"]),
        ("--max-dropped 0.7", ["that is --max-dropped 0.35"]),
        ("--clients 2 --dropout 0 --adversary semi-honest", ["lower max_corrupt to 0"]),
        ("--clients 4 --dropout 0.5 --max-corrupt 0 --adversary semi-honest", ["under 3", "that is --dropout 0.25"]),
        ("--dropout 0.5 --max-corrupt 0.95", ["max_corrupt=14"]),
        ("--clients 15", ["clients=15 must be 1 to 14"]),
        ("--clients -3", ["clients=-3"]),
        ("--rounds 0", ["rounds=0 must be 1 to"]),
        ("--dropout nan", ["dropout=nan", "0 to below 1"]),
        ("--dropout 0.97", ["dropout=0.97 must leave one of clients=14: 0 to 0.929"]),
        ("--max-corrupt 1.5", ["max_corrupt=1.5", "below 1"]),
        ("--max-dropped nan", ["max_dropped=nan"]),
        ("--seed-data -1", ["seed_data=-1"]),
        ("--picture /no/such/folder/x.svg", ["--picture", "folder"]),
    ],
)
def test_a_demo_that_cannot_be_is_refused_in_one_line_with_the_fix(
    capsys: CAPSYS, typed: str, named: Sequence[str]
) -> None:
    check_refused(capsys, ["demo", "digits", *typed.split()], *named)


@pytest.mark.parametrize(
    "typed",
    [
        "--clients 13 --dropout 0.7",
        "--max-dropped 0.7",
        "--clients 4 --dropout 0.5 --max-corrupt 0 --adversary semi-honest",
    ],
)
def test_the_fix_that_is_named_is_the_largest_hundredth_that_would_do(capsys: CAPSYS, typed: str) -> None:
    main(["demo", "digits", *typed.split()])
    found = re.search(r"that is (--[a-z-]+) (\d\.\d\d)$", capsys.readouterr().err.strip())
    assert found is not None
    fixed = ["demo", "digits", *typed.split(), "--rounds", "1", "--json"]
    assert main([*fixed, found[1], found[2]]) == 0
    assert main([*fixed, found[1], f"{float(found[2]) + 0.01:.2f}"]) == 2


def test_without_a_fraction_that_would_do_the_plan_speaks_for_itself(capsys: CAPSYS) -> None:
    check_refused(capsys, ["demo", "digits", "--clients", "2", "--dropout", "0"], "raise clients to 3")
    assert main(["demo", "digits", "--clients", "3", "--dropout", "0.4", "--max-corrupt", "0.9"]) == 2
    assert "that is" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("--clients 10 --max-dropped 5 --max-corrupt 3", ["lower max_dropped to 3"]),
        ("--clients 5000 --max-dropped 1 --max-corrupt 1", ["lower clients to 2048"]),
        ("--clients 10 --max-dropped 1 --max-corrupt 1 --length 0", ["length"]),
        ("--clients 10 --max-dropped 1 --max-corrupt 1 --bits 65", ["bits=65"]),
        ("--clients 10 --max-dropped 1 --max-corrupt 1 --security-bits 39", ["raise security_bits to 40"]),
        ("--clients 10 --max-dropped -1 --max-corrupt 1", ["max_dropped=-1"]),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line_with_the_fix(
    capsys: CAPSYS, typed: str, named: Sequence[str]
) -> None:
    check_refused(capsys, ["plan", *typed.split()], *named)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "frobnicate",
        "demo nothing",
        "demo --clients x",
        "demo --clients 1.5",
        "demo --round 3",
        "demo --adversary evil",
        "plan",
        "plan --clients 10",
        "doctor --now",
    ],
)
def test_what_does_not_parse_is_one_line_and_code_2(capsys: CAPSYS, typed: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(typed.split())
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.fullmatch(r"secagg( \w+)?: error: .+ \(see secagg( \w+)? --help\)", err.strip())


# How it ends.


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (StorageError("the disk\nis gone"), 1, "secagg demo: error: the disk is gone\n"),
        (DataFileError("damaged"), 1, "secagg demo: error: damaged\n"),
    ],
)
def test_an_error_ends_in_its_code_and_at_most_one_line(
    capsys: CAPSYS, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Federation, "run", fail)
    assert main(SMALL) == code
    assert capsys.readouterr().err == said


def start(*typed: str) -> subprocess.Popen[str]:
    """Start the command line on pipes."""
    command = [sys.executable, "-m", "protocols.cli", *typed]
    pipe = subprocess.PIPE
    # In the background of a script interrupts are ignored, and a child inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=BUFFERED)  # noqa: S603  # our own
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_quiet() -> None:
    with start("demo", "digits", "--rounds", "1000", "--json") as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("round "):
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert not [line for line in err.splitlines() if not line.startswith("round ")]


def test_a_reader_that_stops_reading_is_no_traceback() -> None:
    with start(*PLAN) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line() -> None:
    command = [sys.executable, "-m", "protocols.cli", *PLAN]
    pipe = subprocess.PIPE
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=pipe, text=True, check=False, cwd=ROOT, env=BUFFERED)  # noqa: S603  # our own
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("secagg plan: error: ")


def test_the_version_is_that_of_the_distribution(capsys: CAPSYS) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"secagg {metadata.version('secagg')}\n"


@pytest.mark.parametrize("typed", [["--help"], ["demo", "--help"], ["plan", "--help"], ["doctor", "--help"]])
def test_every_help_names_the_exit_codes_and_fits_80_columns(
    capsys: CAPSYS, monkeypatch: pytest.MonkeyPatch, typed: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(typed)
    lines = capsys.readouterr().out.splitlines()
    for code in ("0", "1", "2", "130", "141"):
        assert any(line.split()[:1] == [code] for line in lines)
    assert max(len(line) for line in lines if not line.startswith(("Train", "Find", "Check", "Secure"))) <= 80


# Without rich.

NO_RICH = "import sys; sys.modules['rich'] = None"


def test_nothing_but_the_live_table_imports_rich() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, protocols.cli; print([m for m in sys.modules if m.startswith('rich')])"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "[]\n"


def test_a_demo_without_rich_names_the_extra_in_one_line() -> None:
    done = run_apart(SMALL, prelude=NO_RICH)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "install 'secagg[demo]'" in done.stderr


@pytest.mark.parametrize(
    "typed",
    [
        [*SMALL, "--rounds", "1", "--json"],
        PLAN,
        ["doctor"],
    ],
    ids=["demo --json", "plan", "doctor"],
)
def test_everything_else_works_without_rich(typed: list[str]) -> None:
    done = run_apart(typed, prelude=NO_RICH)
    assert done.returncode == 0
    assert done.stdout


# plan.


def planned(capsys: CAPSYS, typed: str) -> dict[str, Any]:
    assert main(["plan", *typed.split(), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert len(out.splitlines()) == 1
    return last_json(out)


def test_a_sparse_plan_prints_its_shape_odds_and_costs(capsys: CAPSYS) -> None:
    figures = planned(capsys, "--clients 1000 --max-dropped 50 --max-corrupt 50 --adversary semi-honest")
    plan = Plan.find(clients=1000, max_dropped=50, max_corrupt=50, adversary="semi-honest")
    price = cost.of(plan, length=1_000_000, ring_bits=32)
    assert figures == {
        "clients": 1000,
        "max_dropped": 50,
        "max_corrupt": 50,
        "adversary": "semi-honest",
        "graph": "k-regular",
        "degree": plan.degree,
        "threshold": plan.threshold,
        "quorum": 0,
        "min_survivors": 950,
        "security_bits": 40,
        "correctness_bits": 30,
        "log2_secrets_opened": plan.odds.secrets_opened,
        "log2_disconnected": plan.odds.disconnected,
        "log2_unrecoverable": plan.odds.unrecoverable,
        "length": 1_000_000,
        "ring_bits": 32,
        "payload_bytes": 4_000_000,
        "uplink_bytes": price.uplink_bytes,
        "downlink_bytes": price.downlink_bytes,
        "server_uplink_bytes": 1000 * price.uplink_bytes,
        "server_downlink_bytes": 1000 * price.downlink_bytes,
        "client_masks": plan.degree + 1,
        "client_agreements": 2 * plan.degree + 1,
        "client_verifications": plan.degree,
        "server_masks_no_drop": 1000,
        "server_masks_worst": 950 + 50 * plan.degree,
        "server_agreements_no_drop": 1000,
        "server_agreements_worst": 1000 + 50 * plan.degree,
        "server_verifications": 1000,
    }


def test_odds_that_counting_rules_out_are_null_and_settings_reach_the_plan(capsys: CAPSYS) -> None:
    figures = planned(capsys, "--clients 20 --max-dropped 3 --max-corrupt 4 --length 1000 --bits 20 --security-bits 50")
    assert figures["graph"] == "complete"
    assert [figures[f"log2_{event}"] for event in ("secrets_opened", "disconnected", "unrecoverable")] == [None] * 3
    plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
    assert plan.odds.secrets_opened == -math.inf
    assert (figures["threshold"], figures["quorum"]) == (plan.threshold, plan.quorum) == (13, 13)
    assert (figures["length"], figures["ring_bits"], figures["security_bits"]) == (1000, 20, 50)
    assert figures["payload_bytes"] == 2500
    stricter = "--clients 1000 --max-dropped 50 --max-corrupt 50 --adversary semi-honest --correctness-bits 60"
    assert planned(capsys, stricter)["log2_unrecoverable"] < -60


def test_the_text_of_a_plan_explains_it_and_adds_what_it_costs(capsys: CAPSYS) -> None:
    assert main(["plan", "--clients", "20", "--max-dropped", "3", "--max-corrupt", "4"]) == 0
    out = capsys.readouterr().out
    plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
    assert out.startswith(plan.explain())
    rows = {line.split("  ")[1]: line.split()[-3:] for line in out.splitlines() if line.startswith("  ")}
    assert {"advertise", "share", "mask", "confirm", "unmask"} <= rows.keys()
    worst = cost.of(plan, length=1_000_000, ring_bits=32).server_worst
    assert rows["the server at worst"] == [str(worst.masks), str(worst.agreements), str(worst.verifications)]


# doctor.


def test_a_sound_installation_is_well(capsys: CAPSYS) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(doctor._CHECKS)
    assert all(line.startswith("ok ") for line in lines)
    assert main(["doctor", "--json"]) == 0
    figures = last_json(capsys.readouterr().out)
    assert figures["ok"] is True
    assert [check["name"] for check in figures["checks"]] == list(doctor._CHECKS)
    assert all(check["ok"] and check["detail"] for check in figures["checks"])


def test_a_problem_is_named_and_is_code_1(capsys: CAPSYS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_own", lambda _: False)
    assert main(["doctor"]) == 1
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith("PROBLEM")] == [
        ["PROBLEM", "dp"]
    ]
    assert main(["doctor", "--json"]) == 1
    assert last_json(capsys.readouterr().out)["ok"] is False


def test_a_check_that_raises_has_found_a_problem() -> None:
    def broken() -> doctor.Finding:
        raise StorageError("nothing\nworks")

    assert doctor.examine(broken) == doctor.Finding(ok=False, detail="StorageError: nothing works")


def test_the_packages_needed_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least = {name: ".".join(map(str, version)) for name, version in doctor.MIN_PACKAGES.items()}
    assert sorted(project["dependencies"]) == sorted(f"{name}>={version}" for name, version in least.items())
    assert project["requires-python"] == ">=" + ".".join(map(str, doctor.MIN_PYTHON))


@pytest.mark.parametrize(("version", "ok"), [("1.26", True), ("2.4.6rc1", True), ("1.25.9", False), (None, False)])
def test_an_old_or_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch, version: str | None, ok: bool) -> None:  # noqa: FBT001  # a row of the table
    real = metadata.version

    def installed(name: str) -> str:
        if name != "numpy":
            return real(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", installed)
    found = doctor.check_packages()
    assert found.ok is ok
    assert ("numpy>=1.26" in found.detail) is not ok


def test_arithmetic_that_is_off_by_one_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = field.matmul

    def inexact(*args: Any) -> Any:
        product = real(*args)
        product[..., 0] += 1
        return product

    monkeypatch.setattr(field, "matmul", inexact)
    assert not doctor.examine(doctor.check_arithmetic).ok


def test_masks_that_hide_nothing_or_do_not_cancel_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = masking.accumulate
    monkeypatch.setattr(masking, "accumulate", lambda *_, **__: None)
    assert not doctor.check_masks().ok
    monkeypatch.setattr(masking, "accumulate", lambda acc, *, plus, minus: real(acc, plus=[*plus, *minus], minus=[]))
    assert not doctor.check_masks().ok


def test_entropy_that_repeats_and_a_clock_that_steps_back_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "system_entropy", lambda count: b"\x07" * count)
    assert not doctor.check_entropy().ok
    ticks = itertools.count(0, -1)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    assert not doctor.check_clock().ok
