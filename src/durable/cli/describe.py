"""Runs, entries and what they wait for, in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from durable.api.app import Workflow
from durable.api.runs import Event, Undecodable
from durable.cli.calls import Called, called_with, noted
from durable.cli.formatting import ago, as_json, cut, duration, iso, moment, plain, safe_repr
from durable.cli.hints import Hints
from durable.cli.steps import wait_title
from durable.core.records import Entry, Kind, Requests, RunRecord, RunState, Status, Wait

UNDECODABLE = "undecodable"

SHOWN_CHARS = 400
"""Characters of arguments and of a result that `runs show` prints; `--json` has all."""

COMMANDS = {"signal": "signal", "message": "send"}
"""The command that ends each kind of wait."""


def record_json(record: RunRecord, called: Called | None, waits: Sequence[Wait] = ()) -> dict[str, Any]:
    """Return what programs are told of a run."""
    return {
        "id": record.run_id, "app": record.queue.app, "workflow": record.queue.workflow,
        "version": record.queue.version, "group": record.queue.group, "state": record.state.label,
        "reason": record.reason, "detail": record.detail,
        "arguments": None if called is None else called.as_json(), "note": record.note,
        "created_at": iso(record.created_at), "started_at": iso(record.started_at),
        "finished_at": iso(record.finished_at), "due_at": iso(record.due_at), "deadline_at": iso(record.deadline_at),
        "active_seconds": record.active_ms / 1000, "worker": record.owner, "parent": record.parent_id,
        "continuation": record.continuation, "deaths": record.deaths, "progress": progress_of(record),
        "tags": record.tags, "waits": [wait_title(wait.target) for wait in waits],
        "requests": requested(record),
    }  # fmt: skip


def requested(record: RunRecord) -> list[str]:
    """Return what was asked of a run and is yet to be done: `cancel`, `pause`."""
    words = {Requests.CANCEL: "cancel", Requests.PAUSE: "pause"}
    return [word for request, word in words.items() if request in record.requests]


def progress_of(record: RunRecord) -> dict[str, Any] | None:
    """Return what `durable.progress` said last; None if it said nothing."""
    try:
        done, total, message = json.loads(record.progress)
    except ValueError:
        return None
    return {"done": done, "total": total, "message": message}


def progress_text(record: RunRecord) -> str:
    """Return the progress in words: `3/10 parsing`; empty if there is none."""
    found = progress_of(record)
    if found is None:
        return ""
    total = "" if found["total"] is None else f"/{_number(found['total'])}"
    return plain(f"{_number(found['done'])}{total} {found['message']}".strip())


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def condition(record: RunRecord, now: int, waits: Sequence[Wait] = ()) -> str:
    """Return in a few words why a run is where it is, and what was asked of it; empty if its state says all."""
    parts = [f"{word} requested" for word in requested(record)] if not record.state.is_final else []
    return ", ".join([*parts, *([text] if (text := _condition(record, now, waits)) else [])])


def _condition(record: RunRecord, now: int, waits: Sequence[Wait]) -> str:
    names = ", ".join(wait_title(wait.target) for wait in waits)
    match record.state:
        case RunState.SET_ASIDE | RunState.FAILED | RunState.CANCELLED:
            return ": ".join(part for part in (record.reason, record.detail) if part)
        case RunState.QUEUED if record.due_at is not None and record.due_at > now:
            return f"due {ago(record.due_at, now)}"
        case RunState.QUEUED:
            return f"waits for a worker, due {ago(record.due_at or record.created_at, now)}"
        case RunState.SUSPENDED:
            parts = [f"waits for {names}"] if names else []
            parts += [f"wakes {ago(record.due_at, now)}"] if record.due_at is not None else []
            return ", ".join(parts)
        case RunState.RUNNING:
            return progress_text(record) or f"on {worker_text(record.owner)}"
    return progress_text(record)


def worker_text(worker: str | None) -> str:
    """Return a worker's id in words: `process 4711`."""
    parts = (worker or "").split(":")
    return f"process {parts[1]}" if len(parts) > 1 and parts[1].isdigit() else f"worker {worker}"


def elapsed(record: RunRecord, now: int, last_at: int | None = None) -> str:
    """Return how long a run took, or has taken so far; `last_at` is the time of its last entry, if that is known."""
    if record.started_at is None:
        return "-"
    end = record.finished_at if record.state.is_final and record.finished_at is not None else now
    if record.state is RunState.SET_ASIDE and last_at is not None:
        end = max(last_at, record.started_at)
    return duration((end - record.started_at) / 1000)


def head_lines(record: RunRecord, called: Called | None, now: int, last_at: int | None = None) -> list[str]:
    """Return the lines over a run's timeline."""
    queue = record.queue
    version = f" version {queue.version}" if queue.version else ""
    group = f", group {queue.group}" if queue.group != "default" else ""
    lines = [
        f"workflow  {queue.workflow}{version} of {queue.app}{group}",
        f"created   {moment(record.created_at)} ({ago(record.created_at, now)})",
    ]
    if record.started_at is not None:
        lines.append(f"took      {elapsed(record, now, last_at)}, active {duration(record.active_ms / 1000)}")
    optional = {
        "arguments": cut(record.note if called is None else str(called), SHOWN_CHARS),
        "parent": record.parent_id,
        "progress": progress_text(record),
        "deadline": moment(record.deadline_at) if record.deadline_at is not None else "",
        "restarted": f"{record.continuation} times as new" if record.continuation else "",
        "deaths": f"{record.deaths} of its workers died since its last new entry" if record.deaths else "",
        "tags": ", ".join(f"{name}={value}" if value else name for name, value in record.tags.items()),
    }
    lines += [f"{name:9} {plain(text)}" for name, text in optional.items() if text]
    return lines


def event_of(app: Workflow, record: RunRecord, entry: Entry) -> Event:
    """Return an entry decoded; what cannot be decoded here stands as `Undecodable`."""
    return app.runs._event(record, entry)


def entry_json(app: Workflow, record: RunRecord, entry: Entry) -> dict[str, Any]:
    """Return what programs are told of an entry."""
    made: dict[str, Any] = {
        "position": entry.position, "at": iso(entry.at), "kind": entry.kind.label,
        "status": entry.status.name.lower(), "name": entry.label,
        "step": entry.step_id if entry.seq is None else entry.seq,
        "attempt": entry.attempt, "seconds": entry.took / 1000,
        "arguments": arguments_json(app, record, entry), "note": entry.note,
        "next_at": iso(entry.due_at) if entry.status is Status.RETRY else None,
    }  # fmt: skip
    event = event_of(app, record, entry)
    if isinstance(event.value, Undecodable):
        return made | {UNDECODABLE: event.value.why, "bytes": len(event.value.data)}
    if event.error is not None:
        return made | {"error": error_json(event.error)}
    return made | {"value": as_json(event.value)}


def arguments_json(app: Workflow, record: RunRecord, entry: Entry) -> Any:
    """Return the arguments of an entry; None if it has none, or they are not known whole."""
    called = None
    if is_start(entry):
        called = called_with(app, record, entry)
    elif entry.kind in (Kind.TASK, Kind.START):
        called = noted(entry.note)
    return None if called is None else called.as_json()


def is_start(entry: Entry) -> bool:
    """Is it the entry with which a run begins?"""
    return entry.kind is Kind.RUN and entry.name == "start"


def error_json(error: BaseException) -> dict[str, Any]:
    """Return what programs are told of an error."""
    name, message = _name_and_message(error)
    return {"type": name, "message": message, "traceback": getattr(error, "__durable_traceback__", "")}


def error_line(app: Workflow, record: RunRecord, entry: Entry) -> str:
    """Return the error of an entry in one line."""
    event = event_of(app, record, entry)
    if isinstance(event.value, Undecodable):
        return undecodable_text(event.value)
    return "" if event.error is None else error_text(event.error)


def error_text(error: BaseException) -> str:
    """Return an error in one line: its type and message."""
    name, message = _name_and_message(error)
    return plain(f"{name}: {message}" if message else name)


def _name_and_message(error: BaseException) -> tuple[str, str]:
    # An error whose class is not known here says itself which it was.
    name = getattr(error, "type_name", None) or type(error).__name__
    try:
        message = getattr(error, "message", None) if hasattr(error, "type_name") else str(error)
    except Exception as broken:  # noqa: BLE001 - the text of an error is the user's code
        message = f"<its text raises {type(broken).__name__}>"
    return str(name), str(message or "")


def value_line(app: Workflow, record: RunRecord, entry: Entry, width: int = 200) -> str:
    """Return what an entry holds, in one line."""
    event = event_of(app, record, entry)
    if event.error is not None:
        return cut(error_text(event.error), width)
    if is_start(entry):
        return cut(str(called_with(app, record, entry) or record.note), width)
    if not entry.data:
        return cut(entry.note, width)
    if isinstance(event.value, Undecodable):
        return undecodable_text(event.value)
    return cut(safe_repr(event.value), width)


def undecodable_text(value: Undecodable) -> str:
    """Return what stands in place of a value, with what helps here rather than in a program."""
    why = value.why.partition(";")[0]
    more = "; --code MODULE:APP loads it" if why.endswith("not loaded here") else ""
    return cut(f"<{UNDECODABLE}: {why}{more}>", 160)


def waiting_lines(record: RunRecord, waits: Sequence[Wait], now: int, hints: Hints) -> list[str]:
    """Return what a run that has not ended needs to go on, and the commands that help it."""
    retry = hints.command("runs", "retry", record.run_id)
    match record.state:
        case RunState.SET_ASIDE:
            return [f"set aside: {condition(record, now)}", f"when that is mended: {retry}"]
        case RunState.PAUSED:
            return [f"paused; to let it go on: {hints.command('runs', 'resume', record.run_id)}"]
        case RunState.FAILED:
            return [f"failed: {condition(record, now)}", f"to go on from what failed: {retry}"]
        case RunState.SUCCEEDED | RunState.CANCELLED:
            return []
    text = condition(record, now, waits)
    return [f"{record.state.label}: {text}" if text else record.state.label, *_help_lines(record, waits, hints)]


def _help_lines(record: RunRecord, waits: Sequence[Wait], hints: Hints) -> list[str]:
    """Return the commands that give a run what it waits for."""
    return [hints.command(*words) for wait in waits if (words := command_for(record, wait))]


def command_for(record: RunRecord, wait: Wait) -> tuple[str, ...]:
    """Return the words of the command that gives a run what it waits for; none if no command does."""
    word, _, name = wait_title(wait.target).partition(" ")
    return ("runs", COMMANDS[word], record.run_id, name, "PAYLOAD") if word in COMMANDS else ()
