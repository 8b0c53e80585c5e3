"""Breaking changes of names, arguments, values and types: each function yields one family."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final

from durable.core.records import Kind
from tests.check.breaking_steps import steps, touched, unchecked_tasks
from tests.check.changes import (
    Change,
    Touches,
    of_name,
    on_lines,
    whoever_left_a_trace,
    whoever_passed_patch,
    whoever_recorded,
    whoever_runs,
    whoever_waits_for,
)
from tests.check.plays import Asked, Played
from tests.check.sources import Source, calls_in, constant, expression, instead, lines_of, name_called, statement

VALUES: Final = ("durable.random", "durable.time", "durable.uuid4", "durable.now")
WAITS: Final = ("wf.signal", "wf.receive", "ctx.signal")
SENDS: Final = ("wf.send", "wf.complete")

Function = ast.FunctionDef | ast.AsyncFunctionDef


# Names ----------------------------------------------------------------------------------------------------------------


def renamed(source: Source, of: Played) -> Iterator[Change]:
    """A task or workflow has another name in the journal."""
    for name, function in {**source.tasks, **source.workflows}.items():
        if name != "main":
            code = source.with_edits(with_option(function, "name", "renamed"))
            yield Change("name changed", function.lineno, code, whoever_recorded(of_name(name)))


def with_option(function: Function, name: str, value: Any) -> dict[ast.AST, Any]:
    """Return edits that give a decorator an option."""
    decorator = function.decorator_list[0]
    call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
    kept = [keyword for keyword in call.keywords if keyword.arg != name]
    return {decorator: instead(ast.Call(call.func, call.args, [*kept, ast.keyword(name, ast.Constant(value))]))}


def step_renamed(source: Source, of: Played) -> Iterator[Change]:
    """A step without a decorator has another name."""
    for call in source.nodes(ast.Call):
        if name_called(call) == "wf.step":
            code = source.with_edits({call.args[0]: constant("other name")})
            yield Change("name changed", call.lineno, code, whoever_recorded(on_lines(lines_of(call))))


def waited_for(source: Source, of: Played) -> Iterator[Change]:
    """Another signal or message is waited for, sent or delivered."""
    for call in source.nodes(ast.Call):
        name = name_called(call)
        if name in (*WAITS, *SENDS):
            text = call.args[name in SENDS]
            judge = whoever_left_a_trace(on_lines(lines_of(call)))
            yield Change(
                f"name in {name} changed", call.lineno, source.with_edits({text: constant(f"{text.value}-new")}), judge
            )


def patches(source: Source, of: Played) -> Iterator[Change]:
    """A patch that is recorded has another name, or is taken out again."""
    for call in source.nodes(ast.Call):
        if name_called(call) == "durable.patched":
            name = call.args[0].value
            judge = whoever_passed_patch(name)
            yield Change(
                "patch renamed", call.lineno, source.with_edits({call.args[0]: constant(f"{name}-new")}), judge
            )
            yield Change("patch taken out", call.lineno, source.with_edits({call: constant(True)}), judge)


# Arguments and values -------------------------------------------------------------------------------------------------


def arguments(source: Source, of: Played) -> Iterator[Change]:
    """A step gets another argument, or one of another type."""
    for site in steps(source, of):
        for call in calls_in(site.node):
            target, given = _arguments_of(call)
            if target not in source.called_in(call) or target in unchecked_tasks(source):
                continue
            touches = _both(touched(source, call), of_name(target))
            for value in given:
                for node in ast.walk(value):
                    if isinstance(node, ast.Constant):
                        yield from _other_constants(source, node, site.node.lineno, touches)


def _arguments_of(call: ast.Call) -> tuple[str, list[ast.expr]]:
    """Return the task or workflow that is called, and what it gets."""
    name, _, method = name_called(call).partition(".")
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg != "step_id")]
    if name == "ctx" and given:
        return ast.unparse(given[0]), given[1:]
    return name, given[1:] if method == "run" else given  # the first one is the child's id


def _other_constants(source: Source, node: ast.Constant, line: int, touches: Touches) -> Iterator[Change]:
    for kind, made in (("argument changed", _other(node.value)), ("type of argument changed", _typed(node.value))):
        if made is not None:
            yield Change(kind, line, source.with_edits({node: constant(made)}), whoever_recorded(touches))


def _both(one: Touches, other: Touches) -> Touches:
    return lambda asked: one(asked) and other(asked)


def _other(value: object) -> object | None:
    """Return another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
    return None


def _typed(value: object) -> object | None:
    """Return the same value in another type."""
    match value:
        case bool():
            return int(value)
        case int():
            return float(value)
        case float():
            return str(value)
        case str():
            return value.encode()
    return None


def values(source: Source, of: Played) -> Iterator[Change]:
    """A recorded value is of another kind, or not asked for any more."""
    for call in source.nodes(ast.Call):
        name = name_called(call)
        if name in VALUES:
            judge = whoever_recorded(on_lines(lines_of(call)))
            other = "durable.random()" if name != "durable.random" else "durable.time()"
            for kind, text in (("another kind of value", other), ("value removed", "0.5")):
                yield Change(kind, call.lineno, source.with_edits({call: instead(expression(text))}), judge)


def children(source: Source, of: Played) -> Iterator[Change]:
    """An open child has another id; one is started without being waited for, or the other way round."""
    for call in source.nodes(ast.Call):
        name, _, method = name_called(call).partition(".")
        if name not in source.workflows:
            continue
        touches, line = on_lines(lines_of(call)), call.lineno
        if method == "run":
            code = source.with_edits({call.args[0]: constant(f"{call.args[0].value}-new")})
            yield Change("id of a child changed", line, code, whoever_waits_for(touches))
        elif method == "start":
            made = ast.Call(call.func.value, call.args, call.keywords)
            yield Change(
                "start became a call", line, source.with_edits({call: instead(made)}), whoever_recorded(touches)
            )
        elif isinstance(source.workflows[name], ast.AsyncFunctionDef) and not call.keywords:
            made = ast.Call(ast.Attribute(call.func, "start"), call.args, [])
            code = source.with_edits({call: instead(made)})
            yield Change("call became a start", line, code, whoever_left_a_trace(touches))


# Types ----------------------------------------------------------------------------------------------------------------

DECOYS: Final = {"str": "Choice", "int": "Choice", "bool": "Choice", "dict": "Decoy"}
"""What cannot be built from the values of a type."""

_DECLARED: Final = """
import dataclasses, enum

@dataclasses.dataclass
class Decoy:
    some: int
    other: int

class Choice(enum.Enum):
    NEVER = "never"
"""


def undecodable(source: Source, of: Played) -> Iterator[Change]:
    """A recorded result does not fit the type that is declared; its class, or member of it, is gone."""
    for name, task in source.tasks.items():
        decoy = DECOYS.get("" if task.returns is None else ast.unparse(task.returns).partition("[")[0])
        if decoy is not None:
            code = source.with_edits({task.returns: instead(expression(decoy))}, extra=_DECLARED)
            yield Change("result type changed", task.lineno, code, whoever_recorded(of_name(name, Kind.TASK)))
    for cls in (node for node in source.tree.body if isinstance(node, ast.ClassDef)):
        users = {name for name, task in source.tasks.items() if task.returns and cls.name in ast.unparse(task.returns)}
        judge = whoever_recorded(_of_names(users))
        yield Change("class renamed", cls.lineno, source.text.replace(cls.name, f"{cls.name}2"), judge)
        for member in (node for node in cls.body if isinstance(node, ast.Assign)):
            used = f"{cls.name}.{ast.unparse(member.targets[0])}"
            if used in source.text:
                text = str(source.with_edits({member: instead(statement("OTHER = 77"))}))
                yield Change("member removed", cls.lineno, text.replace(used, f"{cls.name}.OTHER"), judge)


def _of_names(names: set[str]) -> Touches:
    def touches(asked: Asked) -> bool:
        return asked.kind is Kind.TASK and asked.name in names

    return touches


def parameters(source: Source, of: Played) -> Iterator[Change]:
    """A workflow takes an argument more, which runs were not started with."""
    for name, function in source.workflows.items():

        def more(node: Any) -> Any:
            node.args.args.append(ast.arg("one_more", ast.Name("int")))
            node.args.defaults.clear()
            return node

        yield Change("parameter added", function.lineno, source.with_edits({function: more}), whoever_runs(name))
