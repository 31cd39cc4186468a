"""Play one module's tests against its mutants: each in a process of its own, forked when all is imported.

Promise: a mutant is dead when a test fails, a process dies, or its time is up; it is alive when all tests that could
notice it have passed. The tests are collected once, and once they are run without any fault: which of them runs which
line, and how long each takes, is known from then on, and a mutant meets only tests that run its lines, fast ones first.

A fault in a function is planted by exchanging the code of the functions that were imported. What runs at import cannot
be exchanged: for these mutants the tests are imported anew, in a process forked before any of it was.

Imports pytest and coverage, which everything forked from here shares.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import coverage
import hypothesis
import numpy as np
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.operators import Mutant, mutants

ARGUMENTS: Final = (
    *("-q", "--tb=no", "-o", "addopts=--import-mode=importlib -p no:cacheprovider -p no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # hypothesis is imported before pytest looks at it
)
LEAST_SECONDS: Final = 20
"""CPU time that any mutant gets; one that needs ten times what the tests take goes round in a circle."""
LEAST_BYTES: Final = 6 << 30


@dataclass(kw_only=True)
class Played:
    """What became of a module's mutants.

    Attributes:
        killed: names of the dead.
        alive: names of the others.
        tests: how many tests guard the module.
        broken: tests that fail without any fault; they guard nothing, and are left out.
    """

    killed: list[str] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)
    tests: int = 0
    broken: list[str] = field(default_factory=list)


def play(module: str, tests: Sequence[str], chosen: frozenset[str] | None, log: Callable[[str], None]) -> Played:
    """Play the mutants of `module` that are `chosen` by name, or all.

    Args:
        module: its path from the root, where this process stands.
        tests: paths of the tests that guard it.
        chosen: names of mutants.
        log: is told of every one alive.

    Raises:
        RuntimeError: the tests cannot be collected.
    """
    phases = [
        hypothesis.Phase.explicit,
        hypothesis.Phase.generate,
    ]  # that one fails is enough; how simply, is not asked
    hypothesis.settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=phases)
    hypothesis.settings.load_profile("mutation")
    np.zeros(1)  # imported before the forks, with all that it imports
    all_of_them = mutants(Path(module).read_text(encoding="utf-8"))
    queue = [mutant for mutant in all_of_them if chosen is None or mutant.name in chosen]
    swapped = _forked(lambda: _Session(module, [m for m in queue if m.in_function]).run(tests), seconds=3600)
    if swapped is None or "dead" not in swapped:
        raise RuntimeError(f"the tests of {module} cannot be collected or run")
    played = Played(tests=swapped["tests"], broken=swapped["broken"])
    anew = [*tests, *(f"--deselect={name}" for name in played.broken)]
    for mutant in queue:
        dead = swapped["dead"].get(mutant.name, False)
        if not dead and (not mutant.in_function or set(mutant.lines) & set(swapped["at_import"])):
            dead = _dies_at_import(module, mutant, anew, swapped["seconds"])
        (played.killed if dead else played.alive).append(mutant.name)
        if not dead:
            log(mutant.name)
    return played


def _dies_at_import(module: str, mutant: Mutant, tests: Sequence[str], seconds: float) -> bool:
    def run() -> dict[str, Any]:
        sys.meta_path.insert(0, _Planted(module, mutant))
        return {"status": int(pytest.main([*ARGUMENTS, "-x", *tests]))}

    told = _forked(run, seconds=LEAST_SECONDS + 10 * seconds)
    return told is None or told["status"] != 0


class _Planted(importlib.abc.MetaPathFinder):
    """Finds one module, with a fault in it."""

    def __init__(self, module: str, mutant: Mutant) -> None:
        self.name = module.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.path, self.mutant = str(Path(module).resolve()), mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find it."""
        if fullname != self.name:
            return None
        loader = _Loader(fullname, self.path, self.mutant)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> types.CodeType:
        """The code with the fault."""
        return self.mutant.plant(self.get_filename(fullname))


class _Session:
    """A pytest plugin: collects, and plays mutants where pytest would run the tests."""

    def __init__(self, module: str, queue: list[Mutant]) -> None:
        self.path, self.queue = str(Path(module).resolve()), queue
        self.told: dict[str, Any] = {}
        self.watch = coverage.Coverage(data_file=None, config_file=False, include=[self.path])

    def run(self, tests: Sequence[str]) -> dict[str, Any]:
        """Play all of it in this process; return what is told to the one that forked it."""
        self.watch.start()
        pytest.main([*ARGUMENTS, *tests], plugins=[self])
        return self.told

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running the tests once."""
        self.watch.stop()
        if session.testsfailed:
            return True
        at_import = self.watch.get_data().lines(self.path) or []
        clean = _forked(lambda: self._watched(session.items), seconds=1800)
        if clean is not None:
            dead = {mutant.name: self._dies(mutant, session.items, clean) for mutant in self.queue}
            broken = [session.items[index].nodeid for index in clean["broken"]]
            self.told = {"dead": dead, "broken": broken, "tests": len(session.items)}
            self.told |= {"seconds": sum(clean["took"]), "at_import": at_import}
        return True

    def _watched(self, items: list[pytest.Item]) -> dict[str, Any]:
        """Run all tests without a fault: which lines each runs, what each takes, which fail."""
        watch = coverage.Coverage(data_file=None, config_file=False, include=[self.path])
        broken, took = [], []
        watch.start()
        for index, item in enumerate(items):
            watch.switch_context(str(index))
            started = time.process_time()
            if not _passes(item):
                broken.append(index)
            took.append(time.process_time() - started)
        watch.stop()
        contexts = watch.get_data().contexts_by_lineno(self.path)
        runs = [[int(name) for name in names if name] for _, names in sorted(contexts.items())]
        return {"broken": broken, "took": took, "lines": sorted(contexts), "runs": runs}

    def _dies(self, mutant: Mutant, items: list[pytest.Item], clean: dict[str, Any]) -> bool:
        runs = zip(clean["lines"], clean["runs"], strict=True)
        covering = {index for line, indexes in runs if line in mutant.lines for index in indexes}
        order = sorted(covering - set(clean["broken"]), key=lambda index: (clean["took"][index], index))

        def run() -> dict[str, Any]:
            _exchange(self.path, mutant.plant(self.path))
            return {"passed": all(_passes(items[index]) for index in order)}

        if not order:
            return False
        told = _forked(run, seconds=LEAST_SECONDS + 10 * sum(clean["took"][index] for index in order))
        return told is None or not told["passed"]


def _passes(item: pytest.Item) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _exchange(path: str, planted: types.CodeType) -> None:
    """Give every function of a module the code it has with the fault in it."""
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(planted)}
    for function in gc.get_objects():
        if isinstance(function, types.FunctionType) and function.__code__.co_filename == path:
            old = function.__code__
            function.__code__ = codes.get((old.co_qualname, old.co_firstlineno), old)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _forked(work: Callable[[], dict[str, Any]], *, seconds: float) -> dict[str, Any] | None:
    """What `work` returns in a process of its own; None where it dies or takes too much."""
    with tempfile.NamedTemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            try:
                _limit(seconds)
                Path(answer.name).write_text(json.dumps(work()), encoding="utf-8")
            finally:
                os._exit(0)  # whatever a fault does, this process ends here, and without an answer it has failed
        os.waitpid(child, 0)
        written = Path(answer.name).read_text(encoding="utf-8")
        return json.loads(written) if written else None


def _limit(seconds: float) -> None:
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 1, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (LEAST_BYTES, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(30 * seconds))  # waiting takes no CPU time
