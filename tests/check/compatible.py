"""Changes that break nothing, made at every place of a module where they can be: each function yields one family.

What they have in common: every operation of every run, recorded or open, is asked for as before, or the manual says
that the change is allowed (`patched`, step ids, durations, unchecked arguments, options, code that is yet to come).
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

from tests.check.breaking_steps import (
    DURABLE,
    SLEEPS,
    depends,
    has_step_id,
    only_call,
    steps,
    unchecked_tasks,
)
from tests.check.breaking_values import with_option
from tests.check.changes import Change, nobody
from tests.check.plays import Played, names, played
from tests.check.sources import (
    INSERTED,
    Site,
    Source,
    after,
    constant,
    exchanged,
    instead,
    name_called,
    names_in,
    preceded_by,
    statement,
    step_in,
)

Family = Callable[[Source, Played], Iterator[Change]]


def compatible_changes(name: str) -> list[Change]:
    """Return all compatible changes of a module."""
    of, source = played(name), Source(played(name).source)
    return [change for family in (*ANYWHERE, *FAMILIES) for change in family(source, of)]


@cache
def all_compatible_changes() -> list[tuple[str, Change]]:
    """Return the compatible changes of the whole corpus, with their modules."""
    return [(name, change) for name in names() for change in compatible_changes(name)]


def with_noise(change: Change, of: Played, draw: random.Random) -> Change:
    """Return a change with another one on top that changes nothing."""
    family = draw.choice(ANYWHERE)
    others = list(family(Source(str(change.source)), of))
    noise = draw.choice(others)
    return change._replace(kind=f"{change.kind}, {noise.kind}", source=noise.source)


# Text -----------------------------------------------------------------------------------------------------------------


def reprinted(source: Source, of: Played) -> Iterator[Change]:
    """Nothing, or only the layout, the comments and the numbers of the lines."""
    yield Change("unchanged", 1, source.text, nobody)
    yield Change("reprinted", 1, source.with_edits({}), nobody)
    yield Change("moved down", 1, "# A remark.\n" * 7 + source.text, nobody)


def renamed_variables(source: Source, of: Played) -> Iterator[Change]:
    """A local variable has another name."""
    for function in source.bodies().values():
        given = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
        for variable in sorted(names_in(function, ast.Store) - given):
            found = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == variable]
            edits = {node: instead(ast.Name(f"{variable}_anew", node.ctx)) for node in found}
            yield Change("variable renamed", function.lineno, source.with_edits(edits), nobody)


def remarked(source: Source, of: Played) -> Iterator[Change]:
    """A docstring, a line to the log, progress: nothing that is recorded."""
    texts = ("'A remark.'", "durable.logger.info('here')", "durable.progress(1, 2, 'here')", "print('here')", "pass")
    for number, site in enumerate(source.sites()):
        edits = {site.node: preceded_by(statement(texts[number % len(texts)]))}
        yield Change("remark inserted", site.node.lineno, source.with_edits(edits, extra=DURABLE), nobody)


def wrapped(source: Source, of: Played) -> Iterator[Change]:
    """A statement stands inside of another one that changes nothing."""
    texts = ("if True:\n    pass", "try:\n    pass\nfinally:\n    pass", "for _ in (1,):\n    pass")
    for number, site in enumerate(source.sites()):
        outer: Any = statement(texts[number % len(texts)])
        outer.body = [site.node]
        yield Change("statement wrapped", site.node.lineno, source.with_edits({site.node: instead(outer)}), nobody)


def tasks_inside(source: Source, of: Played) -> Iterator[Change]:
    """A task does something else."""
    for function in source.tasks.values():
        edits = {function.body[0]: preceded_by(statement("raise RuntimeError('no task is executed')"))}
        yield Change("task changed inside", function.lineno, source.with_edits(edits), nobody)


ANYWHERE: Final[tuple[Family, ...]] = (reprinted, renamed_variables, remarked, wrapped, tasks_inside)
"""Families that can be put on top of any other change."""


# Code that comes to the same ------------------------------------------------------------------------------------------


def idle(source: Source, of: Played) -> Iterator[Change]:
    """Code that decides nothing: an unused variable, a branch that is never taken, a loop without rounds."""
    for number, site in enumerate(source.sites()):
        step = step_in(site.body)
        texts = ("unused = [1, 2, 3]", f"if False:\n    {step}", f"for _ in ():\n    {step}")
        edits = {site.node: preceded_by(statement(texts[number % len(texts)]))}
        yield Change("idle code inserted", site.node.lineno, source.with_edits(edits, extra=INSERTED), nobody)


def extracted(source: Source, of: Played) -> Iterator[Change]:
    """A step moves into a function of its own."""
    for site in steps(source, of):
        call = only_call(site.node)
        if isinstance(call, ast.Await):
            helper: Any = statement("async def extracted():\n    return None")
            helper.body[0].value = call
            edits = {site.node: preceded_by(helper), call: instead(ast.parse("await extracted()").body[0].value)}  # type: ignore[attr-defined]
            yield Change("step extracted", site.node.lineno, source.with_edits(edits), nobody)


# What the manual allows -----------------------------------------------------------------------------------------------


def guarded(source: Source, of: Played) -> Iterator[Change]:
    """A step is inserted, or takes the place of another one, guarded by `patched`."""
    for site in source.sites():
        if not site.in_loop:
            new: Any = statement(f"if durable.patched('brand new'):\n    {step_in(site.body)}")
            code = source.with_edits({site.node: preceded_by(new)}, extra=INSERTED + DURABLE)
            yield Change("guarded step inserted", site.node.lineno, code, nobody)
    for site in steps(source, of):
        if not site.in_loop and isinstance(site.node, ast.Expr):
            new = statement(f"if durable.patched('brand new'):\n    {step_in(site.body)}\nelse:\n    pass")
            new.orelse = [site.node]
            code = source.with_edits({site.node: instead(new)}, extra=INSERTED + DURABLE)
            yield Change("step replaced under guard", site.node.lineno, code, nobody)


def inserted_by_id(source: Source, of: Played) -> Iterator[Change]:
    """A step with a step id is inserted."""
    for site in source.sites():
        # In a time limit it would use up some of the time.
        if site.body == "async" and not site.in_loop and not _is_limited(source, site):
            edits = {site.node: preceded_by(statement("await inserted(step_id='brand-new')"))}
            code = source.with_edits(edits, extra=INSERTED)
            yield Change("step with step id inserted", site.node.lineno, code, nobody)


def _is_limited(source: Source, site: Site) -> bool:
    limits = (block for block in source.nodes(ast.AsyncWith) if "asyncio.timeout" in ast.unparse(block.items[0]))
    return any(site.node in ast.walk(block) for block in limits)


def moved_by_id(source: Source, of: Played) -> Iterator[Change]:
    """A step with a step id changes places with the statement after it, or before it."""
    for site in source.sites():
        if has_step_id(site.node):
            for first, second in ((site.before, site.node), (site.node, next(iter(after(source, site.node)), None))):
                if first and second and not isinstance(second, ast.Return) and not depends(second, first):
                    code = source.with_edits(exchanged(first, second))
                    yield Change("step with step id moved", site.node.lineno, code, nobody)


def yet_to_come(source: Source, of: Played) -> Iterator[Change]:
    """Steps are added behind everything that a run can have recorded while it is open."""
    for site in source.sites():
        if site.node is source.workflows["main"].body[-1]:
            new = [statement(step_in(site.body)), statement("durable.random()")]
            code = source.with_edits({site.node: preceded_by(*new)}, extra=INSERTED + DURABLE)
            yield Change("steps added at the end", site.node.lineno, code, nobody)


def durations(source: Source, of: Played) -> Iterator[Change]:
    """Sleeps and time limits are longer, or shorter."""
    for call in source.nodes(ast.Call):
        if name_called(call) in (*SLEEPS, "asyncio.timeout"):
            for seconds in (0.5, 123_456):
                code = source.with_edits({call.args[0]: constant(seconds)})
                yield Change("duration changed", call.lineno, code, nobody)


def options(source: Source, of: Played) -> Iterator[Change]:
    """Tasks and workflows are executed otherwise."""
    for function in source.tasks.values():
        for option, value in (("retries", 7), ("timeout", 30), ("deadline", 500)):
            if option != "retries" or "at_most_once" not in ast.unparse(function.decorator_list[0]):
                code = source.with_edits(with_option(function, option, value))
                yield Change("option of a task changed", function.lineno, code, nobody)
    for function in source.workflows.values():
        for option in ("deadline", "timeout"):
            code = source.with_edits(with_option(function, option, 10_000_000))
            yield Change("option of a workflow changed", function.lineno, code, nobody)
    for call in source.nodes(ast.Call):
        if name_called(call) == "durable.map":
            code = source.with_edits({call.keywords[0].value: constant(5)})
            yield Change("limit raised", call.lineno, code, nobody)


def unchecked(source: Source, of: Played) -> Iterator[Change]:
    """Arguments that are not compared are others."""
    for call in source.nodes(ast.Call):
        if name_called(call) in unchecked_tasks(source):
            code = source.with_edits({value: constant("another") for value in call.args})
            yield Change("unchecked argument changed", call.lineno, code, nobody)


def declared_more(source: Source, of: Played) -> Iterator[Change]:
    """More is declared: tasks, workflows, another version beside the one there is."""
    more = (
        "@wf.task\nasync def another_task() -> None: ...\n",
        "@wf.workflow\nasync def another_workflow(x: int) -> int:\n    return x\n",
        "@wf.workflow(name='main', version='2')\nasync def main_2() -> None:\n    await inserted('elsewhere')\n",
    )
    for text in more:
        yield Change("more declared", 1, source.with_edits({}, extra=INSERTED + text), nobody)


def signatures(source: Source, of: Played) -> Iterator[Change]:
    """An annotation is wider; a workflow takes one more argument, if it gets it."""
    for function in {**source.tasks, **source.workflows}.values():
        if function.returns is not None and ast.unparse(function.returns) != "None":
            wider = ast.BinOp(function.returns, ast.BitOr(), ast.Constant(None))
            code = source.with_edits({function.returns: instead(wider)})
            yield Change("annotation wider", function.lineno, code, nobody)
    for function in source.workflows.values():
        for add in (_with_parameter, _with_named_parameter):
            code = source.with_edits({function: add})
            yield Change("optional parameter added", function.lineno, code, nobody)


def _with_parameter(function: Any) -> ast.AST:
    function.args.args.append(ast.arg("one_more", ast.Name("int")))
    function.args.defaults.append(ast.Constant(0))
    return function


def _with_named_parameter(function: Any) -> ast.AST:
    function.args.kwonlyargs.append(ast.arg("one_more", ast.Name("int")))
    function.args.kw_defaults.append(ast.Constant(0))
    return function


FAMILIES: Final[tuple[Family, ...]] = (
    idle, extracted, guarded, inserted_by_id, moved_by_id, yet_to_come, durations, options, unchecked, declared_more,
    signatures,
)  # fmt: skip
