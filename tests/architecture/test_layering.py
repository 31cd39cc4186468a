"""Who may import what, as data, and the house rules that can be read off the syntax tree of the product."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("secagg", "dp", "protocols")

LAYERS: Final[Mapping[str, tuple[str, ...]]] = {
    # The sum, from the bottom up. A name ending in ".*" is a whole folder.
    "words": ("secagg.rules", "secagg.types", "secagg.errors"),
    "primitives": ("secagg.primitives.*",),
    "arithmetic": (
        "secagg.packing",
        "secagg.ring",
        "secagg.field",
        "secagg.reed_solomon",
        "secagg.shamir",
        "secagg.masking",
        "secagg.fixedpoint",
        "secagg.graph",
    ),
    "who and what": ("secagg.bounds", "secagg.plan", "secagg.identity", "secagg.slot", "secagg.layout"),
    "on the wire and on disk": ("secagg.wire", "secagg.store", "secagg.aggregate"),
    "which round": ("secagg.config", "secagg.policy"),
    "phases": ("secagg.pairwise.*",),
    "rounds": ("secagg.round.*", "secagg.cost"),
    "the face of secagg": ("secagg",),
    "testing": ("secagg.testing.*",),
    # What the sum may tell: beside secagg, never above or below it.
    "privacy": ("dp.*",),
    # Both, around any training loop.
    "words of protocols": ("protocols.errors", "protocols._guard"),
    "what a round is made of": (
        "protocols.clips",
        "protocols.noised",
        "protocols.inputs",
        "protocols.total",
        "protocols.units",
        "protocols.recipe",
        "protocols.spending",
        "protocols.budget",
        "protocols.faults",
        "protocols.transport",
    ),
    "whole rounds": ("protocols.simulate", "protocols.training", "protocols.driver"),
    "other people's privacy libraries": ("protocols.integrations.*",),
    "the face of protocols": ("protocols",),
    "demonstration": ("protocols.demo.*",),
    "command line": ("protocols.cli.*",),
}
"""A module imports from its own layer and those above it in this table; every module stands in exactly one."""

TESTING: Final = ("secagg.testing", "dp.testing")
"""Shipped for tests, ours and other people's; nothing else of the product may lean on them."""

STRANGERS: Final = {("secagg", "dp"), ("dp", "secagg"), ("secagg", "protocols"), ("dp", "protocols")}
"""(importer, imported): packages that never meet from that side."""

DEPENDENCIES: Final[Mapping[str, frozenset[str]]] = {
    "secagg": frozenset({"numpy", "msgspec"}),
    "secagg.primitives": frozenset({"numpy", "cryptography", "nacl"}),
    "secagg.testing": frozenset({"numpy", "hypothesis"}),
    "dp": frozenset({"numpy"}),
    "dp.randomness": frozenset({"numpy", "cryptography"}),
    "protocols": frozenset({"numpy"}),
    "protocols.demo": frozenset({"numpy", "msgspec", "rich"}),
    "protocols.integrations.opacus": frozenset({"opacus"}),
    "protocols.integrations.pld": frozenset({"numpy", "dp_accounting"}),
    "protocols.cli": frozenset({"numpy", "rich"}),
    "protocols.cli.plot": frozenset({"matplotlib"}),
}
"""Longest prefix of a module -> other people's packages it may import."""

WORLD: Final[Mapping[str, frozenset[str]]] = {
    "os": frozenset({"secagg.types", "secagg.store"}),  # its random generator; durable files
    "fcntl": frozenset({"secagg.store"}),
    "timeit": frozenset({"secagg.primitives.prg"}),  # which of two ways to the same bytes is faster here
    "pathlib": frozenset({"secagg.store", "secagg.identity", "secagg.testing.vectors"}),  # optional files; vectors
    "concurrent": frozenset(
        {  # the type of an argument; nobody here makes one
            "secagg.masking",
            "secagg.pairwise.client",
            "secagg.pairwise.outgoing",
            "secagg.pairwise.recover",
            "secagg.round.client",
            "secagg.round.server",
        }
    ),
}
"""Modules of the standard library that touch the outside -> the modules of secagg that may import them."""

NEVER_IN_SECAGG: Final = frozenset(
    {"asyncio", "time", "datetime", "sched", "signal", "threading", "multiprocessing", "subprocess", "socket", "ssl"}
    | {"select", "selectors", "socketserver", "http", "urllib", "queue", "logging", "io", "tempfile", "shutil", "sys"}
)
"""The core does no I/O, owns no clock, starts no thread and writes no log."""

NEVER: Final = frozenset({"pickle", "marshal", "shelve", "dbm", "yaml", "dill", "cloudpickle", "joblib", "scipy"})
"""Nothing of the product reads code as data, or leans on scipy."""

RANDOM: Final = frozenset({"random", "secrets"})
GENERATORS: Final = ("np.random", "numpy.random")
"""General generators, fit for nothing secret."""

ENTROPY: Final[Mapping[tuple[str, str], str]] = {
    ("secagg.types", "system_entropy"): "every secret of a round, every identity",
    ("secagg.store", "_append"): "the salt of a record",
    ("dp.randomness", "_new_key"): "the key that noise is drawn from",
    ("dp.ledger", "_new_id"): "the name of a ledger, so that no two have the same hashes",
}
"""(module, function) -> what the operating system's generator is called for there."""

BUILTIN_RAISES: Final[Mapping[tuple[str, str, str], str]] = {
    ("secagg.identity", "_no_duplicates", "ValueError"): "a hook of json.loads; its caller makes it a StorageError",
    ("secagg.pairwise.outgoing", "__next__", "StopIteration"): "what Python asks of an iterator at its end",
    ("secagg.pairwise.phase", "__getattr__", "AttributeError"): "what Python asks of it for a name no phase ever had",
}
"""(module, function, exception) -> why a bare built-in exception is raised there and does not leave it."""

CATCH_ALL: Final[Mapping[tuple[str, str], str]] = {
    ("secagg.pairwise.phase", "_answering"): "whatever went wrong, the secrets are wiped; it is raised again",
    ("secagg.round.client", "_mask_if_ready"): "the same, for the whole round; it is raised again",
    ("secagg.round.server", "recover"): "masks half removed are no sum, the round has failed; it is raised again",
    ("protocols.driver", "_affording"): "what a client was charged for an input that never was is lifted",
    ("protocols.driver", "_leaving"): "the caller's training failed, the client leaves wiped; it is raised again",
}
"""(module, function) -> why everything is caught there."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final[Mapping[str, Path]] = {
    module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


@functools.cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@functools.cache
def imports_of(name: str) -> frozenset[str]:
    """Full names of all that a module imports, anywhere in it; `from a import b` is a.b where that is a module."""
    found = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute here"
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else str(node.module) for full in within}
    return frozenset(found)


def own_imports(name: str) -> set[str]:
    return {imported for imported in imports_of(name) if imported.partition(".")[0] in PACKAGES}


def roots_of(name: str) -> set[str]:
    return {imported.partition(".")[0] for imported in imports_of(name)} - set(PACKAGES)


def functions(name: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of a module with the name of the function it stands in, '' outside."""

    def walk(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            named = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else inside
            yield inside, child
            yield from walk(child, named)

    yield from walk(tree_of(name), "")


# Layers.


def layers_of(name: str) -> list[int]:
    def matches(pattern: str) -> bool:
        folder = pattern.removesuffix(".*")
        return name == folder or (pattern.endswith(".*") and name.startswith(f"{folder}."))

    return [index for index, patterns in enumerate(LAYERS.values()) if any(map(matches, patterns))]


def test_every_module_stands_in_one_layer() -> None:
    misplaced = {name: layers_of(name) for name in MODULES if len(layers_of(name)) != 1}
    assert not misplaced, "give it one place in LAYERS"


def test_every_entry_of_the_table_is_a_module() -> None:
    entries = [pattern.removesuffix(".*") for patterns in LAYERS.values() for pattern in patterns]
    assert set(entries) <= set(MODULES)
    assert len(entries) == len(set(entries))


def test_imports_run_downwards() -> None:
    upward = [
        (name, imported)
        for name in MODULES
        for imported in own_imports(name)
        if min(layers_of(imported)) > max(layers_of(name))
    ]
    assert not upward


def test_packages_that_never_meet_do_not() -> None:
    meetings = [
        (name, imported)
        for name in MODULES
        for imported in own_imports(name)
        if (name.partition(".")[0], imported.partition(".")[0]) in STRANGERS
    ]
    assert not meetings


def test_production_code_imports_nothing_of_testing() -> None:
    importers = [
        (name, imported)
        for name in MODULES
        for imported in own_imports(name)
        if imported.startswith(TESTING) and not name.startswith(TESTING)
    ]
    assert not importers


def test_no_module_imports_itself_by_way_of_others() -> None:
    reach = {name: own_imports(name) - {name} for name in MODULES}
    while True:
        wider = {name: found.union(*(reach[other] for other in found)) for name, found in reach.items()}
        if wider == reach:
            break
        reach = wider
    assert not [name for name, found in reach.items() if name in found]


def test_a_module_imports_only_the_packages_of_its_room() -> None:
    strays = []
    for name in MODULES:
        room = max((prefix for prefix in DEPENDENCIES if f"{name}.".startswith(f"{prefix}.")), key=len)
        strays += [(name, stray) for stray in roots_of(name) - sys.stdlib_module_names - DEPENDENCIES[room]]
    assert not strays


def test_only_the_strategies_import_hypothesis() -> None:
    assert [name for name in MODULES if "hypothesis" in roots_of(name)] == ["secagg.testing.strategies"]


# The world outside.


def test_the_core_touches_the_world_in_named_places_only() -> None:
    core = [name for name in MODULES if name.startswith("secagg")]
    assert not [(name, outside) for name in core for outside in roots_of(name) & NEVER_IN_SECAGG]
    for outside, allowed in WORLD.items():
        assert {name for name in core if outside in roots_of(name)} <= allowed, outside


def test_no_module_reads_code_as_data() -> None:
    forbidden = {"eval", "exec", "compile", "__import__", "np.load", "numpy.load", "torch.load", "np.fromfile"}
    for name in MODULES:
        assert not roots_of(name) & NEVER, name
        calls = {ast.unparse(node.func) for _, node in functions(name) if isinstance(node, ast.Call)}
        assert not calls & forbidden, name


def test_secrets_and_noise_have_no_general_generator() -> None:
    for name in MODULES:
        assert not roots_of(name) & RANDOM, name
        if not name.startswith("protocols.demo"):  # which splits public data by it
            used = {ast.unparse(node) for _, node in functions(name) if isinstance(node, ast.Attribute)}
            assert not [text for text in (*used, *imports_of(name)) if text.startswith(GENERATORS)], name


def test_the_operating_systems_generator_is_called_in_named_places() -> None:
    calls = {
        (name, function)
        for name in MODULES
        for function, node in functions(name)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("urandom")
    }
    assert calls <= set(ENTROPY)


# House rules.


def test_every_module_opens_with_what_it_promises() -> None:
    assert not [name for name in MODULES if len((ast.get_docstring(tree_of(name)) or "").split()) < 4]


def test_no_check_is_an_assert() -> None:
    asserts = [(name, node.lineno) for name in MODULES for _, node in functions(name) if isinstance(node, ast.Assert)]
    assert not asserts


def raises_of(name: str) -> set[tuple[str, str, str]]:
    """(module, function, what is raised) of every raise statement of a module."""
    return {
        (name, function, ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc))
        for function, node in functions(name)
        if isinstance(node, ast.Raise) and node.exc is not None
    }


def test_no_bare_built_in_exception_is_raised() -> None:
    found = {
        place for name in MODULES for place in raises_of(name) if isinstance(getattr(builtins, place[2], None), type)
    }
    assert found == set(BUILTIN_RAISES)


def catch_alls(name: str) -> dict[tuple[str, str], ast.ExceptHandler]:
    """Handlers of Exception, BaseException or everything, by (module, function)."""
    wide = (None, "Exception", "BaseException")
    return {
        (name, function): node
        for function, node in functions(name)
        if isinstance(node, ast.ExceptHandler) and (node.type and ast.unparse(node.type)) in wide
    }


def test_whoever_catches_everything_raises_it_again() -> None:
    found = {place: handler for name in MODULES for place, handler in catch_alls(name).items()}
    assert set(found) == set(CATCH_ALL)
    for handler in found.values():
        last = handler.body[-1]
        assert isinstance(last, ast.Raise)
        assert last.exc is None


def test_no_error_is_passed_over_without_a_reason() -> None:
    for name, path in MODULES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        for _, node in functions(name):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
                span = lines[node.lineno - 1 : node.body[-1].end_lineno]
                assert any("#" in line for line in span), f"{name}:{node.lineno}"


def test_nothing_is_left_to_do_in_a_comment() -> None:
    words = ("TODO", "FIXME", "XXX", "HACK")
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    assert not [(name, word) for name, text in texts.items() for word in words if word in text]


def test_public_names_exist() -> None:
    for name in MODULES:
        declared = [
            ast.literal_eval(node.value)
            for _, node in functions(name)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        for names in declared:
            assert list(names) == sorted(set(names)), name
            module = importlib.import_module(name)
            assert not [public for public in names if not hasattr(module, public)], name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_face_says_what_is_public(package: str) -> None:
    module = importlib.import_module(package)
    imported = {
        alias.asname or alias.name
        for node in tree_of(package).body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    guard = {"foreign", "is_own"} if package == "protocols" else set()
    assert imported - guard == set(module.__all__) != set()


# What importing costs.

THIRD_PARTY: Final[Mapping[str, frozenset[str]]] = {
    "secagg": frozenset({"secagg", "numpy", "msgspec", "cryptography", "nacl"}),
    "dp": frozenset({"dp", "numpy", "cryptography"}),
    "protocols": frozenset({"protocols", "dp", "secagg", "numpy", "msgspec", "cryptography", "nacl"}),
    "protocols.cli": frozenset({"protocols", "dp", "secagg", "numpy", "msgspec", "cryptography", "nacl"}),
}
"""Package -> all that importing it may load, besides the standard library and what those packages bring."""

BROUGHT: Final = frozenset({"_cffi_backend", "cffi", "pycparser", "_openssl", "_sodium", "typing_extensions"})
NEVER_LOADED_BY: Final[Mapping[str, frozenset[str]]] = {
    "secagg": frozenset({"asyncio", "socket", "ssl", "sqlite3", "http", "random", "secagg.testing", "secagg.cost"}),
    "dp": frozenset({"asyncio", "socket", "ssl", "random"}),
    "protocols": frozenset({"sqlite3", "http", "random", "secagg.testing", "protocols.demo", "protocols.cli"}),
    "protocols.cli": frozenset({"sqlite3", "secagg.testing"}),
}


@functools.cache
def loaded_by(package: str) -> frozenset[str]:
    """Every module that importing a package loads in a fresh interpreter."""
    program = (
        "import sys, json; before = set(sys.modules); "
        f"import {package}; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603  # our own words
    return frozenset(json.loads(done.stdout))


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_importing_loads_no_more_than_the_core(package: str) -> None:
    loaded = loaded_by(package)
    roots = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert roots <= THIRD_PARTY[package] | BROUGHT
    assert not loaded & NEVER_LOADED_BY[package]


def test_the_checks_of_this_file_can_see() -> None:
    # Each reader above finds something where something is known to be.
    assert "secagg.pairwise.checks" in imports_of("secagg.pairwise.client")
    assert roots_of("secagg.primitives.aead") >= {"cryptography", "typing"}
    assert layers_of("secagg.primitives.aead") == [1]
    assert catch_alls("secagg.pairwise.phase")
    assert sum(len(own_imports(name)) for name in MODULES) > 200
    assert len(list(itertools.chain.from_iterable(LAYERS.values()))) > 30
