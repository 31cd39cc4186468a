"""The faults that are planted: small changes of a module's syntax tree, each one a mistake somebody could make.

Promise: the same source gives the same mutants, in the same order and under the same names. A name says function,
change and, where a function holds the same change twice, which of them; it holds no line number, so what is kept about
a mutant survives edits elsewhere.

Left alone: annotations, docstrings, texts, and what runs for the type checker only.
"""

from __future__ import annotations

import ast
import collections
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final, TypeVar

COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
EXACT_OPPOSITES: Final = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
CALLS: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}

Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One module with one fault.

    Attributes:
        name: `function: before -> after`, with `#2` and so on behind it for the second of the same.
        lines: where in the module it is; a test that runs none of them cannot tell.
        in_function: whether it sits in a function's body, rather than in what runs at import.
        plant: makes the module's code with the fault in it.
    """

    name: str
    lines: range
    in_function: bool
    plant: Callable[[str], CodeType]


@dataclass(frozen=True)
class _Place:
    """A node, what holds it, and where that is."""

    node: ast.AST
    function: str
    in_function: bool
    statement: ast.stmt


def mutants(source: str) -> tuple[Mutant, ...]:
    """Return every mutant of a module."""
    tree = ast.parse(source)
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for place in _places(tree):
        for kind, after in enumerate(_changes(place)):
            name = f"{place.function}: {_short(place.node)} -> {_short(after)}"
            seen[name] += 1
            found.append(
                Mutant(
                    name=name if seen[name] == 1 else f"{name} #{seen[name]}",
                    lines=range(place.statement.lineno, (_end(place.node) or place.statement.lineno) + 1),
                    in_function=place.in_function,
                    plant=_planter(source, numbers[id(place.node)], kind),
                )
            )
    return tuple(found)


def _planter(source: str, number: int, kind: int) -> Callable[[str], CodeType]:
    """Trees are made again when one is asked for: hundreds of them at once would be too much."""

    def plant(path: str) -> CodeType:
        tree = ast.parse(source)
        chosen = list(ast.walk(tree))[number]
        place = next(place for place in _places(tree) if place.node is chosen)
        changed = _Replaced(chosen, list(_changes(place))[kind]).visit(tree)
        code: CodeType = compile(ast.fix_missing_locations(changed), path, "exec", dont_inherit=True)
        return code

    return plant


class _Replaced(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        """Put the new node where the old one was."""
        return ast.copy_location(self.new, node) if node is self.old else self.generic_visit(node)


# Where there may be faults.


def _places(tree: ast.Module) -> Iterator[_Place]:
    for statement in tree.body:
        yield from _of_statement(statement, "module", in_function=False)


def _of_statement(statement: ast.stmt, function: str, *, in_function: bool) -> Iterator[_Place]:
    if _is_text(statement) or isinstance(statement, ast.Import | ast.ImportFrom):
        return
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        name = statement.name if function == "module" else f"{function}.{statement.name}"
        if isinstance(statement, ast.FunctionDef):
            for default in (*statement.args.defaults, *filter(None, statement.args.kw_defaults)):
                yield from _of_expression(default, statement, name, in_function=in_function)
        for decorator in statement.decorator_list:
            yield from _of_expression(decorator, statement, name, in_function=in_function)
        for inner in statement.body:
            inside = in_function or isinstance(statement, ast.FunctionDef)
            yield from _of_statement(inner, name, in_function=inside)
        return
    yield _Place(statement, function, in_function, statement)
    for child in ast.iter_child_nodes(statement):
        if child is getattr(statement, "annotation", None):
            continue
        yield from _below(child, statement, function, in_function=in_function)


def _below(node: ast.AST, statement: ast.stmt, function: str, *, in_function: bool) -> Iterator[_Place]:
    if isinstance(node, ast.stmt):
        yield from _of_statement(node, function, in_function=in_function)
    elif isinstance(node, ast.expr):
        yield from _of_expression(node, statement, function, in_function=in_function)
    else:  # handlers, cases, items of `with`
        for child in ast.iter_child_nodes(node):
            yield from _below(child, statement, function, in_function=in_function)


def _of_expression(root: ast.expr, statement: ast.stmt, function: str, *, in_function: bool) -> Iterator[_Place]:
    for node in ast.walk(root):
        yield _Place(node, function, in_function, statement)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


# What may be wrong there.


def _changes(place: _Place) -> Iterator[ast.AST]:
    """Every wrong node that may stand in a place; a kind of node that nothing is known about has none."""
    yield from _KINDS.get(type(place.node), _nothing)(place.node)


def _nothing(node: Any) -> Iterator[ast.AST]:
    del node
    yield from ()


def _comparison(node: ast.Compare) -> Iterator[ast.AST]:
    for index, operator in enumerate(node.ops):
        yield _with(node, ops=[*node.ops[:index], COMPARISONS[type(operator)](), *node.ops[index + 1 :]])


def _arithmetic(node: ast.BinOp) -> Iterator[ast.AST]:
    if type(node.op) in ARITHMETIC:
        yield _with(node, op=ARITHMETIC[type(node.op)]())


def _both_or_either(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def _negation(node: ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.Not):
        yield copy.deepcopy(node.operand)


def _number(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1)


def _condition(node: ast.If | ast.While | ast.IfExp) -> Iterator[ast.AST]:
    """The condition turned around, unless another change does just that."""
    test = node.test
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    exact = isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], EXACT_OPPOSITES)
    if not negated and not exact:
        yield _with(node, test=ast.UnaryOp(ast.Not(), test))


def _call(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        name = CALLS[node.func.id]
        keywords = [] if name == "list" else node.keywords  # sorted's are not list's
        yield _with(node, func=ast.Name(name, ast.Load()), keywords=keywords)


def _bounds(node: ast.Slice) -> Iterator[ast.AST]:
    for side in ("lower", "upper"):
        bound = getattr(node, side)
        if bound is not None and not isinstance(bound, ast.Constant):
            yield _with(node, **{side: ast.BinOp(bound, ast.Add(), ast.Constant(1))})


def _filters(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> Iterator[ast.AST]:
    for index, loop in enumerate(node.generators):
        if loop.ifs:
            yield _with(node, generators=[*node.generators[:index], _with(loop, ifs=[]), *node.generators[index + 1 :]])


def _left_out(node: ast.stmt) -> Iterator[ast.AST]:
    del node
    yield ast.Pass()


def _call_left_out(node: ast.Expr) -> Iterator[ast.AST]:
    if isinstance(node.value, ast.Call | ast.YieldFrom):
        yield ast.Pass()


def _assignment_left_out(node: ast.Assign) -> Iterator[ast.AST]:
    if isinstance(node.targets[0], ast.Attribute | ast.Subscript):
        yield ast.Pass()


def _answer(node: ast.Return) -> Iterator[ast.AST]:
    if node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))


_KINDS: Final[dict[type[ast.AST], Callable[[Any], Iterator[ast.AST]]]] = {
    ast.Compare: _comparison,
    ast.BinOp: _arithmetic,
    ast.BoolOp: _both_or_either,
    ast.UnaryOp: _negation,
    ast.Constant: _number,
    ast.If: _condition,
    ast.While: _condition,
    ast.IfExp: _condition,
    ast.Call: _call,
    ast.Slice: _bounds,
    ast.ListComp: _filters,
    ast.SetComp: _filters,
    ast.DictComp: _filters,
    ast.GeneratorExp: _filters,
    **dict.fromkeys((ast.Raise, ast.AugAssign, ast.Delete, ast.Break, ast.Continue), _left_out),
    ast.Expr: _call_left_out,
    ast.Assign: _assignment_left_out,
    ast.Return: _answer,
}


def _with(node: Node, **changes: object) -> Node:
    """A copy of a node with some of its fields changed."""
    new = copy.deepcopy(node)
    for name, value in changes.items():
        setattr(new, name, copy.deepcopy(value))
    return new


def _end(node: ast.AST) -> int | None:
    """The last line of a change; a statement with a body changes in its head only."""
    head = node.test if isinstance(node, ast.If | ast.While) else node
    return getattr(head, "end_lineno", None)


def _short(node: ast.AST) -> str:
    if isinstance(node, ast.Pass):
        return "nothing"
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(node.test)}"
    if isinstance(node, ast.Slice):
        return f"[{ast.unparse(node)}]"
    return ast.unparse(node)
