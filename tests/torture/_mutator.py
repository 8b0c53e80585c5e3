"""Small changes of a module, each of which should make some test fail.

A mutant replaces one node of the syntax tree: a comparison by its neighbour, a number by the next one, a statement by
nothing. Left alone is what no test of behaviour should see: annotations, docstrings, assertions, decorators, and the
words of messages (f-strings, and whatever stands in a `raise`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

SHOWN_CHARS: Final = 100


@dataclass(frozen=True)
class Mutant:
    """A change of a module, and how to make it."""

    line: int
    where: str
    """The function or class around it."""
    was: str
    becomes: str
    make: Callable[[], None]
    """Changes the tree that it was found in, for good."""

    @property
    def change(self) -> str:
        """What it changes, in one line; with `where`, its name from one version of the source to the next."""
        return f"{self.was} -> {self.becomes}"


def mutants(tree: ast.Module) -> list[Mutant]:
    """Return all mutants of a module, in the order of its source; each may be made once, and no two of them."""
    return list(_Finder().found(tree, "module"))


def mutated(source: str, number: int) -> ast.Module:
    """Return a module with one of its mutants made."""
    tree = ast.parse(source)
    mutants(tree)[number].make()
    return ast.fix_missing_locations(tree)


class _Finder:
    """Walks a tree; a place is a field of a parent, or an element of one."""

    def found(self, parent: ast.AST, where: str) -> Iterator[Mutant]:
        bound = _names_bound_before(parent)
        for field, value in ast.iter_fields(parent):
            if field in _LEFT_ALONE.get(type(parent), ()):
                continue
            if isinstance(value, list):
                for index, node in enumerate(value):
                    is_word = isinstance(parent, ast.JoinedStr) and isinstance(node, ast.Constant)
                    if isinstance(node, ast.AST) and not is_word:
                        yield from self._at(node, where, _put_element(value, index), bound)
            elif isinstance(value, ast.AST):
                yield from self._at(value, where, _put_field(parent, field), bound)

    def _at(self, node: ast.AST, where: str, put: Callable[[Any], None], bound: frozenset[str]) -> Iterator[Mutant]:
        if _is_left_alone(node):
            return
        if isinstance(node, ast.stmt) and _may_go(node, bound):
            yield _mutant(node, ast.Pass(), where, put)
        for new in _variants(node):
            yield _mutant(node, new, where, put)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            where = node.name if where == "module" else f"{where}.{node.name}"
        if not isinstance(node, ast.Raise):
            yield from self.found(node, where)


def _put_element(row: list[Any], index: int) -> Callable[[Any], None]:
    return lambda new: row.__setitem__(index, new)


def _put_field(parent: ast.AST, field: str) -> Callable[[Any], None]:
    return lambda new: setattr(parent, field, new)


def _mutant(node: ast.AST, new: ast.AST, where: str, put: Callable[[Any], None]) -> Mutant:
    return Mutant(_line_of(node), where, _shown(node), _shown(new), lambda: put(new))


def _line_of(node: ast.AST) -> int:
    # Some nodes have no line of their own; the first one inside has.
    return next(inner.lineno for inner in ast.walk(node) if isinstance(inner, ast.expr | ast.stmt | ast.pattern))


def _shown(node: ast.AST) -> str:
    """Return the code of a node, in one line; of a statement with a body only its head."""
    text = ast.unparse(ast.fix_missing_locations(deepcopy(node)))
    text = text.partition("\n")[0] if isinstance(node, ast.If | ast.While | ast.For) else " ".join(text.split())
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


# What is left alone ---------------------------------------------------------------------------------------------------

_LEFT_ALONE: Final[dict[type[ast.AST], tuple[str, ...]]] = {
    ast.FunctionDef: ("decorator_list", "returns"),
    ast.AsyncFunctionDef: ("decorator_list", "returns"),
    ast.ClassDef: ("decorator_list", "bases", "keywords"),
    ast.AnnAssign: ("annotation", "target"),
    ast.arg: ("annotation",),
    ast.FormattedValue: ("format_spec",),
    ast.ExceptHandler: ("type",),
}
"""Fields of nodes that are not looked into."""


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
        return True
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__slots__"):
        return True
    return isinstance(node, ast.Assert | ast.Import | ast.ImportFrom) or _is_unreachable(node)


def _is_unreachable(node: ast.AST) -> bool:
    """Is this there for type checkers only?"""
    return isinstance(node, ast.match_case) and "assert_never" in ast.unparse(node.body[0])


# Statements that go ---------------------------------------------------------------------------------------------------


def _names_bound_before(parent: ast.AST) -> frozenset[str]:
    """Return the names that have a value whether or not a statement of this body gives them one."""
    if not isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef):
        return frozenset()
    names = [argument.arg for argument in (*parent.args.posonlyargs, *parent.args.args, *parent.args.kwonlyargs)]
    return frozenset(names)


def _may_go(node: ast.stmt, bound: frozenset[str]) -> bool:
    """Does the module still make sense without this statement?"""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.Assign):
        return all(isinstance(to, ast.Attribute | ast.Subscript) or _is_one_of(to, bound) for to in node.targets)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete)


def _is_one_of(node: ast.expr, names: frozenset[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


# Expressions and statements that become others ------------------------------------------------------------------------

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}

_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}

_CALLS: Final = {"min": "max", "max": "min", "all": "any", "any": "all", "sorted": "list", "reversed": "list"}

_REPLACERS: Final = ("_replace", "replace")
"""Calls that work without each of their keywords."""


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what this node may become."""
    if isinstance(node, ast.expr):
        yield from _of_expression(node)
        return
    match node:
        case ast.AugAssign():
            yield _with(node, op=_ARITHMETIC[type(node.op)]())
        case ast.If() | ast.While():
            yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.comprehension(ifs=[_, *_]):
            yield _with(node, ifs=[])
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Continue():
            yield ast.Break()
        case ast.match_case() if not isinstance(node.body[0], ast.Pass):
            # Each case as if it did nothing.
            yield _with(node, body=[ast.Pass()])


def _of_expression(node: ast.expr) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.BinOp(op=ast.BitOr(), right=ast.Name()):
            # Alternatives, of an `isinstance` most likely: without one of them.
            yield from (node.left, node.right)
        case ast.BinOp():
            yield _with(node, op=_ARITHMETIC[type(node.op)]())
        case ast.UnaryOp():
            yield node.operand
        case ast.Constant():
            yield from _constants(node.value)
        case ast.IfExp():
            yield _with(node, body=node.orelse, orelse=node.body)
        case ast.Call():
            yield from _calls(node)
        case ast.Slice():
            yield from (_with(node, **{end: None}) for end in ("lower", "upper") if getattr(node, end) is not None)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    """Return a node like this one with other fields; their parts are shared."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def _comparisons(node: ast.Compare) -> Iterator[ast.AST]:
    for index, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            yield _with(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])


def _constants(value: object) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(value * 2 + 1)
    elif isinstance(value, str):
        yield ast.Constant(f"{value}~")
    elif isinstance(value, bytes):
        yield ast.Constant(value + b"~")


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        yield _with(node, func=ast.Name(_CALLS[node.func.id], ast.Load()))
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in _REPLACERS:
        for index in range(len(node.keywords)):
            yield _with(node, keywords=node.keywords[:index] + node.keywords[index + 1 :])


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
