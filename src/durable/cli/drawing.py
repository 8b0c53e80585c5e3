"""Draws the steps of a run as bars on a time axis, readable at 80 columns and without colour."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from durable.cli.formatting import cut, duration
from durable.cli.steps import Doing, Outcome, Span, Step, Timeline
from durable.core.records import Entry

if TYPE_CHECKING:
    from rich.text import Text

NUMBER, TITLE_MIN, TIME, BAR_MIN = 4, 21, 9, 20
"""Widths of columns; the bar takes the rest."""

TITLE_SHARE: Final = 3
"""Names get their whole width up to this part of the terminal, a third."""

STEPS_SHOWN: Final = 60
"""Steps that are drawn unless all are asked for: the first third and the last two."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The characters of bars."""

    worked: str
    failed: str
    waited: str
    line: str
    more: str

    def of(self, doing: Doing) -> str:
        """Return the character for a stretch."""
        return {Doing.WORKED: self.worked, Doing.FAILED: self.failed, Doing.WAITED: self.waited}[doing]


BLOCKS: Final = Marks("█", "▒", "·", "─", "…")
LETTERS: Final = Marks("#", "x", ".", "-", "...")
STYLES: Final = {Doing.WORKED: "green", Doing.FAILED: "red", Doing.WAITED: "dim"}
OUTCOMES: Final = {Outcome.OK: "", Outcome.FAILED: "red", Outcome.OPEN: "blue", Outcome.MARK: "yellow"}
GAP_TITLE: Final = "nothing recorded"
GAP_REMARK: Final = "interrupted, no free worker, paused, or computing in its body"


def marks_for(encoding: str) -> Marks:
    """Return the marks that a stream of that encoding can show."""
    try:
        "".join((BLOCKS.worked, BLOCKS.failed, BLOCKS.waited, BLOCKS.line, BLOCKS.more)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return LETTERS
    return BLOCKS


def draw(
    timeline: Timeline, width: int, marks: Marks, error_text: Callable[[Entry], str], *, every: bool = False
) -> Iterator[Text]:
    """Yield the lines of a timeline.

    Args:
        timeline: What to draw.
        width: Columns that there are; at least 60 are used.
        marks: The characters of bars.
        error_text: Returns the text of an entry's error.
        every: Draw all steps, however many there are.
    """
    from rich.text import Text

    longest = max((len(step.title) for step in timeline.steps), default=0)
    title = max(min(longest, width // TITLE_SHARE), TITLE_MIN)
    bar = max(width - NUMBER - title - 2 * TIME - 5, BAR_MIN)
    yield _axis(timeline, title, bar, marks)
    shown = len(timeline.steps) if every else STEPS_SHOWN
    hidden = len(timeline.steps) - shown
    gaps = deque(timeline.gaps)
    for index, step in enumerate(timeline.steps):
        before: list[Span] = []
        while gaps and gaps[0].begin < step.begin:
            before.append(gaps.popleft())
        if hidden > 0 and shown // 3 <= index < shown // 3 + hidden:
            if index == shown // 3:
                yield Text(f"{'':{NUMBER}} {marks.more} {hidden:,} more steps; --all shows them", "dim")
            continue
        yield from _gaps(timeline, before, title)
        yield _row(timeline, step, title, bar, marks)
        yield from _remarks(timeline, step, width, error_text)
    yield from _gaps(timeline, gaps, title)
    yield Text(f"{'':{NUMBER}} {marks.worked} worked  {marks.failed} failed  {marks.waited} waited", "dim")


def _axis(timeline: Timeline, title: int, bar: int, marks: Marks) -> Text:
    from rich.text import Text

    right = duration((timeline.end - timeline.begin) / 1000)
    axis = f"0 {marks.line * max(bar - len(right) - 3, 0)} {right}"
    return Text(f"{'#':>{NUMBER}} {'step':{title}} {'began at':>{TIME}} {'took':>{TIME}}  {axis}", "bold")


def _row(timeline: Timeline, step: Step, title: int, bar: int, marks: Marks) -> Text:
    from rich.text import Text

    took = "" if step.outcome is Outcome.MARK else duration(((step.end or timeline.end) - step.begin) / 1000)
    if step.outcome is Outcome.OPEN:
        took = f"{took}+"
    line = Text(f"{step.number:>{NUMBER}} ", "dim")
    line.append(f"{cut(step.title, title):{title}} ", OUTCOMES[step.outcome])
    line.append(f"{duration((step.begin - timeline.begin) / 1000):>{TIME}} {took:>{TIME}}  ")
    line.append_text(_bar(timeline, step, bar, marks))
    line.rstrip()
    return line


def _gaps(timeline: Timeline, gaps: Iterable[Span], title: int) -> Iterator[Text]:
    from rich.text import Text

    for gap in gaps:
        begin, took = duration((gap.begin - timeline.begin) / 1000), duration((gap.end - gap.begin) / 1000)
        yield Text(f"{'-':>{NUMBER}} {GAP_TITLE:{title}} {begin:>{TIME}} {took:>{TIME}}", "dim")
        yield Text(f"{'':{NUMBER + 3}}{GAP_REMARK}", "dim")


def _bar(timeline: Timeline, step: Step, bar: int, marks: Marks) -> Text:
    from rich.text import Text

    cells: list[Doing | None] = [None] * bar
    # What failed is painted last: it must not vanish in a cell that it shares with a longer stretch.
    for doing in (Doing.WAITED, Doing.WORKED, Doing.FAILED):
        for span in step.spans:
            if span.doing is doing:
                first, last = _columns(timeline, span, bar)
                cells[first : last + 1] = [doing] * (last + 1 - first)
    line = Text()
    for cell in cells:
        line.append(" " if cell is None else marks.of(cell), "" if cell is None else STYLES[cell])
    return line


def _columns(timeline: Timeline, span: Span, bar: int) -> tuple[int, int]:
    """Return the first and last column of a stretch, which takes at least one."""
    whole = max(timeline.end - timeline.begin, 1)
    first = min((span.begin - timeline.begin) * bar // whole, bar - 1)
    last = min(((span.end - timeline.begin) * bar - 1) // whole, bar - 1)
    return max(first, 0), max(first, last, 0)


def _remarks(timeline: Timeline, step: Step, width: int, error_text: Callable[[Entry], str]) -> Iterator[Text]:
    from rich.text import Text

    indent = " " * (NUMBER + 3)
    room = max(width, 60) - len(indent)
    if step.outcome is Outcome.MARK and step.note:
        yield Text(indent + cut(step.note, room), "dim")
    for attempt, entry in step.errors:
        which = f"attempt {attempt}: " if attempt else ""
        yield Text(indent + cut(which + error_text(entry), room), "red")
    if step.attempts > 1 and step.outcome is Outcome.OK:
        yield Text(f"{indent}attempt {step.attempts}: ok", "dim")
    if step.next_at is not None:
        left = max(step.next_at - timeline.end, 0) / 1000
        yield Text(f"{indent}attempt {step.attempts + 1}: in {duration(left)}", "blue")
