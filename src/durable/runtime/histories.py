"""The history of one run: all that its replay needs, as a record and as a file.

A file is JSON, one for each run, made to be kept in a repository and read by people: times are ISO 8601 in UTC, each
entry is a line, and a value whose bytes are text is shown as text. The same run gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from durable.core.failure import plan_restart
from durable.core.records import (
    Entry,
    Inbox,
    Kind,
    Message,
    PromiseRecord,
    Queue,
    RunKey,
    RunRecord,
    RunState,
    Status,
    Wait,
)
from durable.errors import UsageError
from durable.store.base import JOURNAL_PAGE_MAX, RunFilter

FORMAT: Final = 1
"""Version of the file format; grows when a reader of today would misread a file."""

_CONTROLS: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_EMPTY: Final = Inbox()

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class RunReader(Protocol):
    """The part of a store that looks at runs and changes nothing; every `RunStore` has it."""

    async def run(self, app: str, run_id: str) -> RunRecord | None:
        """See `RunStore.run`."""

    async def run_by_key(self, key: RunKey) -> RunRecord | None:
        """See `RunStore.run_by_key`."""

    async def runs(self, where: RunFilter, *, limit: int = 100, before: RunKey | None = None) -> list[RunRecord]:
        """See `RunStore.runs`."""

    async def count(self, where: RunFilter) -> dict[RunState, int]:
        """See `RunStore.count`."""

    async def tally(self, where: RunFilter) -> dict[Queue, dict[RunState, int]]:
        """See `RunStore.tally`."""

    async def journal(self, run: RunKey, start: int = 0, limit: int = JOURNAL_PAGE_MAX) -> list[Entry]:
        """See `RunStore.journal`."""

    async def last_entry(self, run: RunKey) -> Entry | None:
        """See `RunStore.last_entry`."""

    async def waits(self, run: RunKey) -> list[Wait]:
        """See `RunStore.waits`."""

    async def inbox(self, run: RunKey) -> Inbox:
        """See `RunStore.inbox`."""


@dataclass(frozen=True, slots=True)
class Child:
    """A run that has ended and whose end another one waits for."""

    run_id: str
    ok: bool
    data: bytes
    """Its encoded result or error; empty for one that was cancelled before it began."""


@dataclass(frozen=True, slots=True)
class History:
    """What is recorded of one run."""

    run_id: str
    queue: Queue
    """Application, workflow, version and group."""
    state: RunState
    began_at: int
    """The body's time before the first entry, in milliseconds: that of the first claim."""
    entries: tuple[Entry, ...]
    """The journal, from the entry with the arguments on."""
    continuation: int = 0
    """How often the run had continued as new."""
    deaths: int = 0
    """Owners that died since the last entry."""
    waits: tuple[Wait, ...] = ()
    """What it is registered for."""
    inbox: Inbox = _EMPTY
    ended: tuple[Child, ...] = ()
    """The runs that it waits for and that have ended."""

    @property
    def position(self) -> int:
        """Position behind the last entry."""
        return self.entries[-1].position + 1

    @property
    def stands_still(self) -> bool:
        """Is the body known to be blocked where the journal ends? Else its worker may be about to record more."""
        return self.state in (RunState.SUSPENDED, RunState.PAUSED) or (
            self.state is RunState.QUEUED and not self.deaths
        )

    @property
    def final(self) -> Entry | None:
        """The entry with which the run ended."""
        last = self.entries[-1]
        return last if last.kind is Kind.RUN and last.name == "finish" else None

    @property
    def going_on(self) -> tuple[Entry, ...]:
        """What is left to replay when somebody lets the run go on: not its end, nor what made it fail."""
        if self.state is RunState.FAILED and self.final is not None:
            drop = set(plan_restart(self.entries).drop)
            return tuple(entry for entry in self.entries if entry.position not in drop)
        return self.entries if self.final is None else self.entries[:-1]

    def record(self) -> RunRecord:
        """Return the run as its store would show it, as far as a replay can see."""
        start = self.entries[0]
        return RunRecord(
            key=0, run_id=self.run_id, queue=self.queue, state=self.state, epoch=2, owner=None, due_at=None,
            created_at=self.began_at, started_at=self.began_at, finished_at=None, digest=start.digest, note=start.note,
            continuation=self.continuation,
        )  # fmt: skip


async def read_history(reader: RunReader, record: RunRecord) -> History:
    """Return the history of a run as it is now.

    The parts are read one after the other: if the run moves meanwhile, they may not belong together (`has_moved`).

    Raises:
        StoreCorrupt: some of it does not match its checksum.
    """
    entries = await reader.journal(record.key)
    page = entries
    while len(page) == JOURNAL_PAGE_MAX:
        page = await reader.journal(record.key, page[-1].position + 1)
        entries += page
    waits = sorted(await reader.waits(record.key))
    return History(
        record.run_id, record.queue, record.state, record.started_at or record.created_at, tuple(entries),
        record.continuation, record.deaths, tuple(waits), await reader.inbox(record.key),
        await _ended(reader, record, waits),
    )  # fmt: skip


async def _ended(reader: RunReader, record: RunRecord, waits: Sequence[Wait]) -> tuple[Child, ...]:
    found = []
    for run_id in sorted({wait.target[2:] for wait in waits if wait.target.startswith("r:")}):
        child = await reader.run(record.queue.app, run_id)
        if child is not None and child.state.is_final and (last := await reader.last_entry(child.key)) is not None:
            found.append(Child(run_id, child.state is RunState.SUCCEEDED, last.data))
    return tuple(found)


async def has_moved(reader: RunReader, record: RunRecord, history: History) -> bool:
    """Has a run changed since its history was read?"""
    now = await reader.run_by_key(record.key)
    if now is None or (now.state, now.epoch, now.continuation) != (record.state, record.epoch, record.continuation):
        return True
    last = await reader.last_entry(record.key)
    return last != history.entries[-1] or tuple(sorted(await reader.waits(record.key))) != history.waits


# Files ----------------------------------------------------------------------------------------------------------------


def to_json(history: History) -> str:
    """Return the text of a history's file."""
    queue = history.queue
    head = {
        "durable_history": FORMAT, "app": queue.app, "workflow": queue.workflow, "version": queue.version,
        "group": queue.group, "run": history.run_id, "state": history.state.label, "began_at": _iso(history.began_at),
        "continuation": history.continuation, "deaths": history.deaths,
    }  # fmt: skip
    lists = {
        "entries": [_entry_json(entry) for entry in history.entries],
        "waits": [{"seq": wait.seq, "target": wait.target} for wait in history.waits],
        "signals": [_signal_json(signal) for signal in history.inbox.signals],
        "messages": [{"number": m.number, "name": m.name} | _bytes_json(m.data) for m in history.inbox.messages],
        "ended": [{"run": child.run_id, "ok": child.ok} | _bytes_json(child.data) for child in history.ended],
    }
    parts = [f" {_line(name)}: {_line(value)}" for name, value in head.items()]
    parts += [f" {_line(name)}: {_lines(items)}" for name, items in lists.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(items: Sequence[object]) -> str:
    return "[\n" + ",\n".join(f"  {_line(item)}" for item in items) + "\n ]" if items else "[]"


def _line(value: object) -> str:
    # Readable in every script, but for what drives terminals or reverses the order of text.
    text = json.dumps(value, ensure_ascii=False)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _entry_json(entry: Entry) -> dict[str, Any]:
    made: dict[str, Any] = {
        "position": entry.position, "at": _iso(entry.at), "kind": entry.kind.name.lower(),
        "status": entry.status.name.lower(), "seq": entry.seq, "step_id": entry.step_id, "name": entry.name,
        # As text: 64 bits are more than many readers of JSON keep of a number.
        "digest": f"{entry.digest & 0xFFFF_FFFF_FFFF_FFFF:016x}" if entry.digest else None,
        "attempt": entry.attempt, "took_ms": entry.took, "due_at": _iso(entry.due_at) if entry.due_at else None,
        "note": entry.note,
    }  # fmt: skip
    needed = ("position", "at", "kind", "status")
    return {name: value for name, value in made.items() if name in needed or value} | _bytes_json(entry.data)


def _signal_json(signal: PromiseRecord) -> dict[str, Any]:
    at = None if signal.settled_at is None else _iso(signal.settled_at)
    return {"id": signal.promise_id, "at": at, "ok": signal.ok} | _bytes_json(signal.data)


def _bytes_json(data: bytes) -> dict[str, str]:
    if not data:
        return {}
    try:
        return {"data": bytes(data).decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _iso(at_ms: int) -> str:
    return (_EPOCH + at_ms * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_json(text: str, source: str) -> History:
    """Return the history that a file holds.

    Args:
        text: The file's text.
        source: What to call it in messages.

    Raises:
        UsageError: it is no history, or one that a newer version of durable wrote.
    """
    try:
        made = json.loads(text)
        version = made["durable_history"]
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"{source} is no history; 'durable runs export ID -o FILE' writes one") from None
    if version != FORMAT:
        raise UsageError(f"{source} is a history of format {version!r}, this version reads {FORMAT}; upgrade durable")
    try:
        return _history_of(made)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UsageError(f"{source} is a damaged history ({type(error).__name__}: {error}); export it again") from None


def _history_of(made: Mapping[str, Any]) -> History:
    queue = Queue(made["app"], made["workflow"], made["version"], made["group"])
    entries = tuple(_entry_of(item) for item in made["entries"])
    if not entries or (entries[0].kind, entries[0].name) != (Kind.RUN, "start"):
        raise ValueError("its first entry is not that of a start")
    signals = tuple(
        PromiseRecord(item["id"], item["at"] and _ms(item["at"]), item["ok"], _bytes_of(item))
        for item in made["signals"]
    )
    messages = tuple(Message(item["number"], item["name"], _bytes_of(item)) for item in made["messages"])
    return History(
        made["run"], queue, RunState[made["state"].upper().replace(" ", "_")], _ms(made["began_at"]), entries,
        made["continuation"], made["deaths"], tuple(Wait(item["seq"], item["target"]) for item in made["waits"]),
        Inbox(signals, messages), tuple(Child(item["run"], item["ok"], _bytes_of(item)) for item in made["ended"]),
    )  # fmt: skip


def _entry_of(item: Mapping[str, Any]) -> Entry:
    digest = int(item.get("digest", "0"), 16)
    return Entry(
        item["position"], _ms(item["at"]), Kind[item["kind"].upper()], Status[item["status"].upper()],
        item.get("seq"), item.get("step_id"), item.get("name", ""), digest - (digest >> 63 << 64),
        item.get("attempt", 0), item.get("took_ms", 0), _ms(item["due_at"]) if "due_at" in item else 0,
        item.get("note", ""), _bytes_of(item),
    )  # fmt: skip


def _bytes_of(item: Mapping[str, Any]) -> bytes:
    if "base64" in item:
        return base64.b64decode(item["base64"], validate=True)
    return str(item.get("data", "")).encode()


def _ms(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
