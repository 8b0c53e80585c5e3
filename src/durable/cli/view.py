"""Shows a run while it executes here: a live view on a terminal, plain lines elsewhere. Prints on stderr."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from durable.api.app import Workflow
from durable.cli import describe
from durable.cli.formatting import cut, duration
from durable.cli.hints import Hints, folded, hints_for_application
from durable.cli.output import STATE_STYLES, count_of, make_console
from durable.cli.steps import step_title, wait_title
from durable.core.records import Entry, Kind, RunRecord, RunState, Status, Wait
from durable.errors import DurableError
from durable.runtime.activation import Activation
from durable.runtime.steps import Operation, TaskOperation

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

LOOK_SECONDS: Final = 0.1
"""How often to look at the run."""

STEPS_SHOWN: Final = 8
"""Steps that the live view keeps in sight."""

OPEN_SHOWN: Final = 5

LINE_CHARS: Final = 1_000
"""Longest line where there is no terminal."""

ECHO_COLUMNS: Final = 2
"""Columns that the live view leaves free at the right: a `^C` that is echoed there must not begin another line."""

GOING_ON: Final = (RunState.QUEUED, RunState.RUNNING, RunState.SUSPENDED, RunState.PAUSED)
"""States of which the view tells; the others are how the command ends."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What runs or is waited for now."""

    text: str
    command: tuple[str, ...] = ()
    """The words of the command that ends the wait, if one does."""

    def __str__(self) -> str:
        return f"{self.text}: {' '.join(self.command)}" if self.command else self.text


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at a run saw."""

    record: RunRecord
    news: list[tuple[Entry, str]]
    """Steps since the last look, with their errors."""
    steps: int
    """Steps so far, with those that were recorded before."""
    under_way: list[UnderWay]
    now: int


class View(Protocol):
    """Something that shows a run, while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, sight: Sight) -> None:
        """Show what was seen."""

    def say(self, text: str) -> None:
        """Print a line that stays."""


class Watch:
    """Looks at a run again and again, and tells a view."""

    def __init__(self, app: Workflow, run_id: str, view: View) -> None:
        self._app, self._run_id, self._view = app, run_id, view
        self._began = app.clock.now_ms()
        self._position = 0
        self._steps = 0
        self._seen = False
        self._hints: Hints | None = None
        self._act: Activation | None = None
        """The activation that was seen last: while the run is suspended it still knows what is waited for."""

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. What cannot be seen now is seen later, or told by the run's own end."""
        with suppress(DurableError):
            await self._look()

    async def _look(self) -> None:
        engine = await self._app._engine()
        record = await self._app.runs.get(self._run_id)
        entries: list[Entry] = []
        while page := await engine.store.journal(record.key, self._position):
            entries += page
            self._position = page[-1].position + 1
        steps = [entry for entry in entries if is_step(entry)]
        self._steps += len(steps)
        # What an earlier process recorded is counted, not told again.
        news = [(entry, self._value(record, entry)) for entry in steps if entry.at >= self._began]
        self._act = engine.active.get(record.key) or engine.cache.peek(record.key) or self._act
        if not self._seen and not news and record.state not in GOING_ON and (record.finished_at or 0) < self._began:
            return  # it had ended, and has not gone on yet; it may never, and then there is nothing to see
        self._seen = True
        under_way = await self._under_way(record)
        self._view.show(Sight(record, news, self._steps, under_way, self._app.clock.now_ms()))

    def _value(self, record: RunRecord, entry: Entry) -> str:
        # Results are not shown: decoding them would cost the run more than the run itself.
        return "" if entry.status is Status.OK else describe.error_line(self._app, record, entry)

    async def _under_way(self, record: RunRecord) -> list[UnderWay]:
        if record.state not in (RunState.RUNNING, RunState.SUSPENDED):
            return []
        if self._hints is None and record.state is RunState.SUSPENDED:
            self._hints = await hints_for_application(self._app)
        hints = self._hints or Hints()
        if self._act is not None:
            now = self._app.clock.now_ms()
            return [_under_way(op, now, hints) for op in list(self._act.frontier.open.values())]
        if record.state is not RunState.SUSPENDED:
            return []
        # Another process has brought it here: only the store knows what it waits for.
        waits = await (await self._app._engine()).store.waits(record.key)
        return [UnderWay(f"waits for {wait_title(wait.target)}", _command_for(record, wait, hints)) for wait in waits]


def _command_for(record: RunRecord, wait: Wait, hints: Hints) -> tuple[str, ...]:
    words = describe.command_for(record, wait)
    return tuple(hints.words(*words)) if words else ()


def _under_way(op: Operation, now: int, hints: Hints) -> UnderWay:
    match op.kind:
        case Kind.TASK:
            attempt = f", attempt {op.attempt + 1}" if op.attempt else ""
            again = ""
            if isinstance(op, TaskOperation) and not op.running and op.due_at > now:
                again = f" starts in {duration((op.due_at - now) / 1000)}"
            return UnderWay(f"{op.name}({op.note}){attempt}{again}")
        case Kind.TIMER:
            return UnderWay(f"sleep, {duration(max(op.due_at - now, 0) / 1000)} left")
        case Kind.PROMISE | Kind.MESSAGE:
            command = hints.words("runs", describe.COMMANDS[op.kind.label], op.act.run_id, op.name, "PAYLOAD")
            return UnderWay(f"waits for {op.kind.label} {op.name}", tuple(command))
        case Kind.CHILD:
            return UnderWay(f"waits for child {op.name}")
    return UnderWay(f"{op.kind.label} {op.name}")


def is_step(entry: Entry) -> bool:
    """Is an entry worth a line? Ends and failed attempts are; recorded values and beginnings are not."""
    return entry.kind not in (Kind.RUN, Kind.VALUE) and entry.status is not Status.BEGUN


def entry_line(entry: Entry, begin: int) -> str:
    """Return a step that ended, in one line, without what it failed with."""
    parts = [f"{step_title(entry)} {'ok' if entry.status is Status.OK else 'failed'}"]
    if entry.kind is Kind.TASK:
        parts[0] += f" after {duration(entry.took / 1000)}"
        parts += [f"attempt {entry.attempt}"] if entry.attempt > 1 or entry.status is Status.RETRY else []
    if entry.status is Status.RETRY:
        parts.append(f"again in {duration((entry.due_at - entry.at) / 1000)}")
    return f"{duration((entry.at - begin) / 1000):>9}  {', '.join(parts)}"


def make_view(run_id: str) -> View:
    """Return the view for where stderr goes."""
    return LiveView(run_id) if sys.stderr.isatty() else LineView(run_id)


class LineView:
    """A line for every step that ends and every change of state; for logs and pipes."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._state: RunState | None = None
        self._progress = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, sight: Sight) -> None:
        """Print what is new."""
        record = sight.record
        begin = record.started_at or record.created_at
        lines = [f"{entry_line(entry, begin)}{value and f': {value}'}" for entry, value in sight.news]
        if self._state is None and sight.steps > len(sight.news):
            before = count_of(sight.steps - len(sight.news), "step")
            lines.insert(0, f"run {self._run_id!r} goes on after {before} recorded before")
        progress = describe.progress_text(record)
        if progress != self._progress:
            lines.append(f"{duration((sight.now - begin) / 1000):>9}  progress {progress}")
        if record.state is not self._state and record.state in GOING_ON:
            why = "; ".join(map(str, sight.under_way)) if record.state is RunState.SUSPENDED else ""
            why = why or describe.condition(record, sight.now)
            lines.append(f"run {self._run_id!r} is {record.state.label}{f': {why}' if why else ''}")
        self._progress, self._state = progress, record.state
        for line in lines:
            self.say(_indented(line, LINE_CHARS))

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)


def _indented(line: str, width: int) -> str:
    indent = len(line) - len(line.lstrip())
    return " " * indent + cut(line, width - indent)


class LiveView:
    """State, progress, the last steps and what is under way, redrawn in place."""

    def __init__(self, run_id: str) -> None:
        from rich.live import Live

        self._run_id = run_id
        self._last: deque[tuple[str, str]] = deque(maxlen=STEPS_SHOWN)
        """Steps, and what they failed with."""
        self._console = make_console(err=True)
        self._live = Live(console=self._console, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, sight: Sight) -> None:
        """Draw the run anew."""
        begin = sight.record.started_at or sight.record.created_at
        self._last.extend((entry_line(entry, begin), value) for entry, value in sight.news)
        self._live.update(self.render(sight), refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the view."""
        self._console.print(text)

    def render(self, sight: Sight) -> RenderableType:
        """Return the whole view."""
        from rich.console import Group
        from rich.text import Text

        record, width = sight.record, self._console.width - ECHO_COLUMNS
        head = Text(f"{cut(self._run_id, width // 2)}  ", "bold")
        head.append(record.state.label, STATE_STYLES[record.state.label])
        head.append(f"  {describe.elapsed(record, sight.now)}  {sight.steps:,} steps", "dim")
        parts: list[RenderableType] = [head]
        if describe.progress_of(record) is not None:
            parts.append(self._progress(record))
        for line, failure in self._last:
            parts.append(Text(_indented(line, width), "dim"))
            parts += [Text(_indented(f"{'':11}{failure}", width), "dim red")] if failure else []
        if record.state in GOING_ON:
            parts += self._waits(sight, width)
        return Group(*parts)

    def _waits(self, sight: Sight, width: int) -> list[Text]:
        from rich.text import Text

        lines: list[Text] = []
        for each in sight.under_way[:OPEN_SHOWN]:
            lines.append(Text(f"{'now':>9}  {cut(each.text, width - 11)}", "blue"))
            # To be copied: never cut, and with nothing before it that would have to be taken away.
            lines += [Text(line, "blue") for line in folded(each.command, width)] if each.command else []
        more = len(sight.under_way) - OPEN_SHOWN
        return [*lines, Text(f"{'now':>9}  and {more:,} more", "blue")] if more > 0 else lines

    def _progress(self, record: RunRecord) -> RenderableType:
        from rich.columns import Columns
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        found = describe.progress_of(record)
        assert found is not None
        text = Text(describe.progress_text(record))
        if not found["total"]:
            return text
        return Columns(
            [ProgressBar(total=found["total"], completed=found["done"], width=self._console.width // 2), text]
        )
