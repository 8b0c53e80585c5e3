"""The source of a module of the corpus as a tree, with what changes of it need: sites, bodies, replacements."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Edit = Callable[[Any], ast.AST | list[ast.stmt] | None]
"""Returns what takes the place of a node."""

INSERTED: Final = """
@wf.task(retries=0)
async def inserted(text: str = "", /) -> str:
    return text
"""
"""A task that changes may insert calls of."""

_SIMPLE: Final = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)


@dataclass(frozen=True)
class Site:
    """A simple statement in the body of a workflow."""

    node: ast.stmt
    body: str
    """How the workflow is written: async, plain or generator."""
    before: ast.stmt | None
    """The statement before it in the same block."""
    in_loop: bool

    @property
    def lines(self) -> frozenset[int]:
        """The lines that it stands on."""
        return lines_of(self.node)


class Source:
    """A module of the corpus."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        for number, node in enumerate(ast.walk(self.tree)):
            if hasattr(node, "lineno"):  # nodes without a place, such as `ast.Load()`, are shared between trees
                node.number = number  # type: ignore[attr-defined]
        functions = [node for node in self.tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        self.tasks = {node.name: node for node in functions if _decorator(node) == "task"}
        self.workflows = {node.name: node for node in functions if _decorator(node) == "workflow"}
        self.helpers = {
            node.name: node
            for node in functions
            if _decorator(node) is None and isinstance(node, ast.AsyncFunctionDef) and _awaits(node, self.tasks)
        }

    def bodies(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        """Return the functions whose code is replayed."""
        return {**self.workflows, **self.helpers}

    def sites(self) -> Iterator[Site]:
        """Return the simple statements of all bodies."""
        for function in self.bodies().values():
            kind = "async" if isinstance(function, ast.AsyncFunctionDef) else "plain"
            if kind == "plain" and any(isinstance(node, ast.Yield) for node in ast.walk(function)):
                kind = "generator"
            yield from _sites(function.body, kind, in_loop=function.name in self.helpers)

    def nodes(self, *types: type[ast.AST]) -> Iterator[Any]:
        """Return the nodes of these types in all bodies."""
        for function in self.bodies().values():
            for statement in function.body:
                yield from (node for node in ast.walk(statement) if isinstance(node, types))

    def called_in(self, node: ast.AST) -> frozenset[str]:
        """Return the tasks and workflows of the module that a piece of code mentions."""
        found = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
        return frozenset(found & {*self.tasks, *self.workflows})

    def with_edits(self, edits: Mapping[Any, Edit], *, extra: str = "") -> Edited:
        """Return the text with some nodes replaced; `extra` follows the line that makes the application."""
        return Edited(self.tree, {node.number: edit for node, edit in edits.items()}, extra)


@dataclass(frozen=True)
class Edited:
    """A text that is made when somebody wants it."""

    tree: ast.Module
    edits: Mapping[int, Edit]
    extra: str

    def __str__(self) -> str:
        tree = _Replacer(self.edits).visit(copy.deepcopy(self.tree))
        if self.extra:
            place = next(i for i, node in enumerate(tree.body) if ast.unparse(node) == "wf = application()")
            tree.body[place + 1 : place + 1] = ast.parse(self.extra).body
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


class _Replacer(ast.NodeTransformer):
    def __init__(self, edits: Mapping[int, Edit]) -> None:
        self._edits = edits

    def visit(self, node: ast.AST) -> Any:
        edit = self._edits.get(getattr(node, "number", -1))
        if edit is None:
            return self.generic_visit(node)
        return edit(self.generic_visit(node))


def _sites(block: list[ast.stmt], kind: str, *, in_loop: bool) -> Iterator[Site]:
    before: ast.stmt | None = None
    for node in block:
        if isinstance(node, _SIMPLE):
            yield Site(node, kind, before, in_loop)
        nested = in_loop or isinstance(node, (ast.For, ast.While, ast.AsyncFunctionDef, ast.FunctionDef))
        for name in ("body", "orelse", "finalbody"):
            yield from _sites(getattr(node, name, []), kind, in_loop=nested)
        for handler in getattr(node, "handlers", []):
            yield from _sites(handler.body, kind, in_loop=nested)
        before = node


def _decorator(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    for decorator in function.decorator_list:
        found = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(found, ast.Attribute):
            return found.attr
    return None


def _awaits(function: ast.AsyncFunctionDef, tasks: Mapping[str, Any]) -> bool:
    return any(isinstance(node, ast.Name) and node.id in tasks for node in ast.walk(function))


def after(source: Source, node: ast.stmt) -> list[ast.stmt]:
    """Return the statement that follows in the same block, if one does."""
    for parent in ast.walk(source.tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(parent, name, None)
            if isinstance(block, list) and node in block:
                place = block.index(node) + 1
                return block[place : place + 1]
    return []


# Pieces of code -------------------------------------------------------------------------------------------------------


def lines_of(node: ast.AST) -> frozenset[int]:
    """Return the lines that a node stands on."""
    return frozenset(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]


def instead(*nodes: ast.AST) -> Edit:
    """Return an edit that puts these in the place of a node."""
    return lambda _: nodes[0] if len(nodes) == 1 else list(nodes)  # type: ignore[arg-type]


def constant(value: Any) -> Edit:
    """Return an edit that puts a constant in the place of a node."""
    return instead(ast.Constant(value))


def preceded_by(*statements: ast.stmt) -> Edit:
    """Return an edit that puts these before a statement."""
    return lambda node: [*statements, node]


def exchanged(first: ast.stmt, second: ast.stmt) -> dict[ast.AST, Edit]:
    """Return edits by which two statements change places."""
    return {first: instead(second), second: instead(first)}


def statement(text: str) -> ast.stmt:
    """Return a statement."""
    return ast.parse(text).body[0]


def expression(text: str) -> ast.expr:
    """Return an expression."""
    return ast.parse(text, mode="eval").body


def step_in(body: str, call: str = "inserted()") -> str:
    """Return the text that calls a task of the module in a kind of body."""
    name, _, rest = call.partition("(")
    if body == "async":
        return f"await {call}"
    if body == "plain":
        return f"{name}.sync({rest}"
    return f"(yield ctx.run({name}{', ' if rest != ')' else ''}{rest})"


def calls_in(node: ast.AST) -> Iterator[ast.Call]:
    """Return the calls in a piece of code."""
    return (item for item in ast.walk(node) if isinstance(item, ast.Call))


def name_called(call: ast.Call) -> str:
    """Return the text of what is called: `charge`, `durable.sleep`, `part.run`."""
    return ast.unparse(call.func)


def names_in(node: ast.AST, context: type[ast.expr_context] = ast.Load) -> set[str]:
    """Return the variables that a piece of code reads (or, with `ast.Store`, assigns)."""
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, context)}
