"""Breaking changes of which steps there are, and in which order: each function yields one family."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final

from tests.check.changes import (
    Change,
    Touches,
    on_lines,
    whoever_left_a_trace,
    whoever_recorded,
    whoever_recorded_after,
)
from tests.check.plays import Played
from tests.check.sources import (
    INSERTED,
    Edit,
    Site,
    Source,
    after,
    calls_in,
    constant,
    exchanged,
    instead,
    lines_of,
    name_called,
    names_in,
    preceded_by,
    statement,
    step_in,
)

SLEEPS: Final = ("durable.sleep", "asyncio.sleep", "ctx.sleep")

SLEEP_IN: Final = {"async": "await durable.sleep(7)", "plain": "durable.sleep(7)", "generator": "yield ctx.sleep(7)"}
"""How each kind of body sleeps."""

DURABLE: Final = "\nimport durable\n"


# Helpers --------------------------------------------------------------------------------------------------------------


def touched(source: Source, node: ast.AST, *, numbered: bool = False) -> Touches:
    """Return what tells the operations that a piece of code asks for."""
    return on_lines(lines_of(node), source.called_in(node), numbered=numbered)


def steps(source: Source, of: Played, *, numbered: bool = False) -> Iterator[Site]:
    """Return the statements that ask for operations, as the play has shown."""
    operations = [asked for life in of.trace.asked.values() for asked in life.values()]
    for site in source.sites():
        if any(map(touched(source, site.node, numbered=numbered), operations)):
            yield site


def only_call(node: ast.stmt) -> ast.expr | None:
    """Return the one awaited, yielded or plain call that a statement consists of."""
    value: Any = getattr(node, "value", None)
    if isinstance(value, (ast.Await, ast.Yield)):
        return value if isinstance(value.value, ast.Call) else None
    return value if isinstance(value, ast.Call) else None


def has_step_id(*nodes: ast.AST) -> bool:
    """Is a step id given in any of these?"""
    return any("step_id=" in ast.unparse(node) for node in nodes)


def is_in(source: Source, node: ast.AST, *types: type[ast.AST]) -> bool:
    """Does a node stand inside of one of these types?"""
    return any(node in ast.walk(outer) for outer in source.nodes(*types) if outer is not node)


def unchecked_tasks(source: Source) -> set[str]:
    """Return the tasks whose arguments are not compared."""
    return {name for name, task in source.tasks.items() if "check_args=False" in ast.unparse(task.decorator_list[0])}


# Steps ----------------------------------------------------------------------------------------------------------------


def inserted(source: Source, of: Played) -> Iterator[Change]:
    """A step, a sleep or a value is asked for before something that is recorded."""
    for site in steps(source, of, numbered=True):
        texts = {"step": step_in(site.body), "sleep": SLEEP_IN[site.body], "value": "durable.uuid4()"}
        if any(called in ast.unparse(site.node) for called in (*SLEEPS, "uuid4")):
            texts = {"step": texts["step"]}  # an equal one would take its entries, and leave it its own
        for kind, text in texts.items():
            code = source.with_edits({site.node: preceded_by(statement(text))}, extra=INSERTED + DURABLE)
            judge = whoever_recorded(touched(source, site.node, numbered=True))
            yield Change(f"{kind} inserted", site.node.lineno, code, judge)


def removed(source: Source, of: Played) -> Iterator[Change]:
    """A recorded step is not asked for any more."""
    for site in steps(source, of, numbered=True):
        call = only_call(site.node)
        # Before a step with a step id it cannot be told from one that was inserted there.
        if call is not None and not has_step_id(site.node, *after(source, site.node)):
            judge = whoever_recorded(touched(source, call, numbered=True))
            yield Change("step removed", site.node.lineno, source.with_edits({call: constant(None)}), judge)


def swapped(source: Source, of: Played) -> Iterator[Change]:
    """Two steps are asked for in the other order."""
    found = list(steps(source, of, numbered=True))
    numbered = {site.node for site in found}
    for site in found:
        first, second = site.before, site.node
        if first is None or first not in numbered or isinstance(second, ast.Return) or has_step_id(first, second):
            continue
        if (
            depends(second, first)
            or depends(first, second)
            or ast.unparse(only_call(first) or first) in ast.unparse(second)
        ):
            continue
        judge = whoever_recorded(touched(source, first, numbered=True))
        yield Change("steps swapped", first.lineno, source.with_edits(exchanged(first, second)), judge)


def depends(one: ast.stmt, other: ast.stmt) -> bool:
    """Does a statement use, or assign as well, what another one assigns?"""
    return bool(names_in(other, ast.Store) & (names_in(one) | names_in(one, ast.Store)))


def ended_early(source: Source, of: Played) -> Iterator[Change]:
    """The body ends, or raises, before something that is recorded."""
    for site in steps(source, of, numbered=True):
        # In a try block or a helper, an end is not the workflow's.
        if site.in_loop or is_in(source, site.node, ast.Try):
            continue
        judge = whoever_recorded(touched(source, site.node, numbered=True))
        for kind, text in (("return inserted", "return None"), ("error raised", "raise RuntimeError('no more')")):
            code = source.with_edits({site.node: preceded_by(statement(text))})
            yield Change(kind, site.node.lineno, code, judge)


# Ways through the code ------------------------------------------------------------------------------------------------


def looped(source: Source, of: Played) -> Iterator[Change]:
    """A loop goes round once more, or once less."""
    for loop in source.nodes(ast.For, ast.While, ast.ListComp):
        if is_in(source, loop, ast.AsyncFunctionDef):
            continue  # which of two branches is first to ask for one more depends on the other
        judge = whoever_recorded_after(touched(source, loop))
        for node, more, less in _bounds(_bound_of(loop)):
            yield Change("loop longer", loop.lineno, source.with_edits({node: more}), judge)
            yield Change("loop shorter", loop.lineno, source.with_edits({node: less}), judge)


def _bound_of(loop: Any) -> ast.expr:
    match loop:
        case ast.While():
            return loop.test
        case ast.ListComp():
            return loop.generators[0].iter
    return loop.iter


def _bounds(node: ast.expr) -> Iterator[tuple[ast.AST, Edit, Edit]]:
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(most)) as bound]):
            yield bound, constant(most + 1), constant(most - 1)
        case ast.Compare(comparators=[ast.Constant(value=int(most)) as bound]):
            yield bound, constant(most + 1), constant(most - 1)
        case ast.List(elts=items):
            yield node, instead(ast.List([*items, ast.Constant("one more")])), instead(ast.List(items[:-1]))


def flipped(source: Source, of: Played) -> Iterator[Change]:
    """The other branch of a decision is taken."""
    for choice in source.nodes(ast.If):
        if "durable.patched" not in ast.unparse(choice.test) and "continue_as_new" not in ast.unparse(choice):
            code = source.with_edits({choice.test: instead(ast.UnaryOp(ast.Not(), choice.test))})
            yield Change("condition flipped", choice.lineno, code, whoever_recorded(touched(source, choice)))


def uncaught(source: Source, of: Played) -> Iterator[Change]:
    """An error of a step is not caught any more."""
    for block in source.nodes(ast.Try):
        handled = frozenset(line for handler in block.handlers for node in handler.body for line in lines_of(node))
        if handled and "asyncio.timeout" not in ast.unparse(block):
            code = source.with_edits({block: instead(*block.body, *block.finalbody)})
            yield Change("except removed", block.lineno, code, whoever_recorded(on_lines(handled)))


def unlimited(source: Source, of: Played) -> Iterator[Change]:
    """A time limit, whose timer is recorded, is gone."""
    for block in source.nodes(ast.AsyncWith):
        if "asyncio.timeout" in ast.unparse(block.items[0]):
            judge = whoever_left_a_trace(on_lines(lines_of(block.items[0].context_expr)))
            yield Change("time limit removed", block.lineno, source.with_edits({block: instead(*block.body)}), judge)


def gathered(source: Source, of: Played) -> Iterator[Change]:
    """Branches that run at once begin in another order."""
    for call in source.nodes(ast.Call):
        if name_called(call) in ("asyncio.gather", "ctx.gather") and len(call.args) > 1 and source.called_in(call):
            made = ast.Call(call.func, [call.args[1], call.args[0], *call.args[2:]], call.keywords)
            judge = whoever_recorded(touched(source, call))
            yield Change("branches swapped", call.lineno, source.with_edits({call: instead(made)}), judge)


# Sleeps and step ids --------------------------------------------------------------------------------------------------


def slept(source: Source, of: Played) -> Iterator[Change]:
    """A sleep becomes a step, or nothing at all; a step becomes a sleep."""
    for site in steps(source, of, numbered=True):
        call = only_call(site.node)
        if call is None or not isinstance(site.node, ast.Expr) or has_step_id(call):
            continue
        line, touches = site.node.lineno, touched(source, call, numbered=True)
        if any(name_called(item) in SLEEPS for item in calls_in(call)):
            code = source.with_edits({site.node: instead(statement(step_in(site.body)))}, extra=INSERTED)
            yield Change("sleep became a step", line, code, whoever_left_a_trace(touches))
        elif source.called_in(call):
            code = source.with_edits({site.node: instead(statement(SLEEP_IN[site.body]))}, extra=DURABLE)
            yield Change("step became a sleep", line, code, whoever_recorded(touches))
        for item in calls_in(call):
            if name_called(item) == "asyncio.sleep":
                code = source.with_edits({item.args[0]: constant(0)})
                yield Change("sleep of no time", line, code, whoever_left_a_trace(touches))


def stepped_by_id(source: Source, of: Played) -> Iterator[Change]:
    """A recorded step has another step id, one more, or one less."""
    awaited = {node.value for node in source.nodes(ast.Await)}
    for call in source.nodes(ast.Call):
        name = name_called(call)
        if name not in source.tasks and name not in source.workflows:
            continue
        judge, line = whoever_recorded(touched(source, call)), call.lineno
        given = next((keyword.value for keyword in call.keywords if keyword.arg == "step_id"), None)
        if isinstance(given, ast.Constant):
            yield Change("step id changed", line, source.with_edits({given: constant(f"{given.value!s}-new")}), judge)
            made = ast.Call(call.func, call.args, [item for item in call.keywords if item.arg != "step_id"])
            yield Change("step id removed", line, source.with_edits({call: instead(made)}), judge)
        elif (
            call in awaited
            and name in source.tasks
            and not _is_repeated(source, call) | (name in unchecked_tasks(source))
        ):
            # One that begins together with others, or whose arguments are not compared, could be an inserted one.
            made = ast.Call(call.func, call.args, [*call.keywords, ast.keyword("step_id", ast.Constant("brand-new"))])
            yield Change("step id added", line, source.with_edits({call: instead(made)}), judge)


def _is_repeated(source: Source, node: ast.AST) -> bool:
    in_helper = any(node in ast.walk(helper) for helper in source.helpers.values())
    return in_helper or is_in(source, node, ast.For, ast.While, ast.ListComp, ast.AsyncFunctionDef)
