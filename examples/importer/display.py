"""What the demo shows: a progress bar on a terminal, plain lines elsewhere, and the figures at the end."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from ledger import Verdict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@dataclass
class Story:
    """What happened to the importer while we watched."""

    seconds: float = 0.0  # that it ran
    recorded_earlier: int = 0  # results that were there when we began
    deaths: list[int] = field(default_factory=list)  # how many results were recorded at each
    resumed_ms: list[int] = field(default_factory=list)  # from each restart to the first file that was not known yet


class Display(Protocol):
    def say(self, text: str) -> None: ...
    def show(self, done: int, total: int) -> None: ...
    def end(self) -> None: ...


class Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("files", total=None)

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False)

    def show(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total or None)

    def end(self) -> None:
        self._progress.stop()


class Lines:
    """One line each time another tenth is done."""

    def __init__(self) -> None:
        self._tenths = 0

    def say(self, text: str) -> None:
        print(text, flush=True)

    def show(self, done: int, total: int) -> None:
        tenths = 10 * done // total if total else 0
        if tenths > self._tenths:
            self._tenths = tenths
            self.say(f"{done} of {total} files")

    def end(self) -> None:
        pass


@contextlib.contextmanager
def display_for(out: TextIO) -> Iterator[Display]:
    console = Console(file=out)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield Bar(progress)


def figures(story: Story, verdict: Verdict) -> str:
    new = verdict.files - story.recorded_earlier
    earlier = f", after {story.recorded_earlier:,} earlier" if story.recorded_earlier else ""
    rows = [
        ("files recorded", f"{new:,}{earlier}"),
        ("seconds", f"{story.seconds:.1f}, restarts included"),
        ("files per second", f"{new / story.seconds:.0f}"),
    ]
    rows += [("recorded when killed", f"{done:,}") for done in story.deaths]
    rows += [("resumed in", f"{ms} ms, from the start of Python to the first new file") for ms in story.resumed_ms]
    return "".join(f"{name:<22}{value}\n" for name, value in rows)


def proof(verdict: Verdict) -> str:
    """Say what the ledger and the journal show together, the repetitions that are no broken promise included."""
    text = (
        f"The ledger has {verdict.parses:,} parses of {verdict.files:,} files.\n"
        f"Recorded before a restart and parsed again after it: {len(verdict.repeated)}.\n"
    )
    if verdict.in_work:
        text += f"In work when the process died, not recorded yet, so parsed again: {len(verdict.in_work)}"
        text += f" ({', '.join(sorted(verdict.in_work)[:8])}).\n"
    if verdict.holds:
        return text + "Recorded exactly once, executed at least once: the promise was kept.\n"
    faults = {"parsed again": verdict.repeated, "never parsed": verdict.never, "recorded twice": verdict.twice}
    named = "; ".join(f"{what}: {', '.join(names[:8])}" for what, names in faults.items() if names)
    return text + f"THE PROMISE WAS BROKEN. {named}\n"
