"""Shows a run while it executes here: a live view on a terminal, plain lines elsewhere. Prints on stderr."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from durable.api.app import Workflow
from durable.cli import describe
from durable.cli.formatting import cut, duration
from durable.cli.output import STATE_STYLES, make_console
from durable.cli.steps import step_title
from durable.core.records import Entry, Kind, RunRecord, RunState, Status
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

GOING_ON: Final = (RunState.QUEUED, RunState.RUNNING, RunState.SUSPENDED, RunState.PAUSED)
"""States of which the view tells; the others are how the command ends."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at a run saw."""

    record: RunRecord
    news: list[tuple[Entry, str]]
    """Steps since the last look, with their errors."""
    steps: int
    """Steps so far, with those that were recorded before."""
    under_way: list[str]
    """What runs or is waited for now."""
    now: int


class View(Protocol):
    """Something that shows a run."""

    def show(self, sight: Sight) -> None:
        """Show what was seen."""


class Watch:
    """Looks at a run again and again, and tells a view."""

    def __init__(self, app: Workflow, run_id: str, view: View) -> None:
        self._app, self._run_id, self._view = app, run_id, view
        self._began = app.clock.now_ms()
        self._position = 0
        self._steps = 0
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
        now = self._app.clock.now_ms()
        self._view.show(Sight(record, news, self._steps, self._under_way(record, now), now))

    def _value(self, record: RunRecord, entry: Entry) -> str:
        # Results are not shown: decoding them would cost the run more than the run itself.
        return "" if entry.status is Status.OK else describe.error_line(self._app, record, entry)

    def _under_way(self, record: RunRecord, now: int) -> list[str]:
        if self._act is None or record.state not in (RunState.RUNNING, RunState.SUSPENDED):
            return []
        return [_under_way(op, now) for op in list(self._act.frontier.open.values())]


def _under_way(op: Operation, now: int) -> str:
    match op.kind:
        case Kind.TASK:
            attempt = f", attempt {op.attempt + 1}" if op.attempt else ""
            again = ""
            if isinstance(op, TaskOperation) and not op.running and op.due_at > now:
                again = f" starts in {duration((op.due_at - now) / 1000)}"
            return f"{op.name}({op.note}){attempt}{again}"
        case Kind.TIMER:
            return f"sleep, {duration(max(op.due_at - now, 0) / 1000)} left"
        case Kind.PROMISE:
            return f"waits for signal {op.name!r}: durable runs signal {op.act.run_id} {op.name} PAYLOAD"
        case Kind.MESSAGE:
            return f"waits for message {op.name!r}: durable runs send {op.act.run_id} {op.name} PAYLOAD"
        case Kind.CHILD:
            return f"waits for child {op.name}"
    return f"{op.kind.name.lower()} {op.name}"


def is_step(entry: Entry) -> bool:
    """Is an entry worth a line? Ends and failed attempts are; recorded values and beginnings are not."""
    return entry.kind not in (Kind.RUN, Kind.VALUE) and entry.status is not Status.BEGUN


def entry_line(entry: Entry, value: str, begin: int) -> str:
    """Return a step that ended, in one line."""
    name = f"{step_title(entry)} {'ok' if entry.status is Status.OK else 'failed'}"
    took = f" after {duration(entry.took / 1000)}" if entry.kind is Kind.TASK else ""
    text = f": {value}" if entry.status is not Status.OK else ""
    again = f"; again in {duration((entry.due_at - entry.at) / 1000)}" if entry.status is Status.RETRY else ""
    return f"{duration((entry.at - begin) / 1000):>9}  {name}{took}{text}{again}"


def make_view(run_id: str) -> AbstractContextManager[View]:
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
        lines = [entry_line(entry, value, begin) for entry, value in sight.news]
        if self._state is None and sight.steps > len(sight.news):
            lines.insert(
                0, f"run {self._run_id!r} goes on after {sight.steps - len(sight.news):,} steps recorded before"
            )
        progress = describe.progress_text(record)
        if progress != self._progress:
            lines.append(f"{duration((sight.now - begin) / 1000):>9}  progress {progress}")
        if record.state is not self._state and record.state in GOING_ON:
            why = "; ".join(sight.under_way) if record.state is RunState.SUSPENDED else ""
            why = why or describe.condition(record, sight.now)
            lines.append(f"run {self._run_id!r} is {record.state.label}{f': {why}' if why else ''}")
        self._progress, self._state = progress, record.state
        for line in lines:
            print(_indented(line), file=sys.stderr, flush=True)


def _indented(line: str) -> str:
    return " " * (len(line) - len(line.lstrip())) + cut(line, 1_000)


class LiveView:
    """State, progress, the last steps and what is under way, redrawn in place."""

    def __init__(self, run_id: str) -> None:
        from rich.live import Live

        self._run_id = run_id
        self._last: deque[str] = deque(maxlen=STEPS_SHOWN)
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
        self._last.extend(entry_line(entry, value, begin) for entry, value in sight.news)
        self._live.update(self.render(sight), refresh=True)

    def render(self, sight: Sight) -> RenderableType:
        """Return the whole view."""
        from rich.console import Group
        from rich.text import Text

        record, width = sight.record, self._console.width
        head = Text(f"{cut(self._run_id, width // 2)}  ", "bold")
        head.append(record.state.label, STATE_STYLES[record.state.label])
        head.append(f"  {describe.elapsed(record, sight.now)}  {sight.steps:,} steps", "dim")
        parts: list[RenderableType] = [head]
        if describe.progress_of(record) is not None:
            parts.append(self._progress(record))
        parts += [Text(_indented(line)[:width], "dim") for line in self._last]
        if record.state in GOING_ON:
            parts += self._waits(sight, width)
        return Group(*parts)

    def _waits(self, sight: Sight, width: int) -> list[Text]:
        from rich.text import Text

        shown = [cut(line, width - 13) for line in sight.under_way[:OPEN_SHOWN]]
        more = len(sight.under_way) - len(shown)
        shown += [f"and {more:,} more"] if more > 0 else []
        return [Text(f"{'now':>9}  {line}", "blue") for line in shown]

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
