"""Compares plays: a run that went on from a cut must be what it was without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from durable.core import ids
from durable.core.records import Entry, Kind, Status
from tests.support.clock import START_MS
from tests.support.replaying import APP, Cut, Played, Script, cuts, is_deadlock, is_trouble, journals_at, play


class Difference(AssertionError):
    """A play that went on from a cut is not what was played before."""


def check_every_cut(script: Script, *, only: Callable[[Cut], bool] = lambda _: True) -> Played:
    """Play a script, then go on from every cut: results, journals and effects must be the same.

    Return the first play.
    """
    whole = play(script)
    # A random program may deadlock; then it must do so after every cut, too.
    if is_trouble(whole.result) and not is_deadlock(whole.result):
        raise Difference(f"the whole play was set aside: {whole.result!r}")
    for cut in cuts(whole.log, within=script.sliced):
        if only(cut):
            check_cut(script, whole, cut)
    return whole


def check_cut(script: Script, whole: Played, cut: Cut) -> Played:
    """Go on from a cut and compare with the whole play."""
    try:
        again = play(script, at=cut, of=whole)
        compare(whole, again, cut)
    except Difference as difference:
        raise Difference(f"{cut}: {difference}") from None
    except TimeoutError:
        raise Difference(f"{cut}: the run is stuck") from None
    return again


def check_late_takeover(script: Script, whole: Played, cut: Cut, later_ms: int) -> Played:
    """Go on from a cut only after a while, and then from every cut of what came of that.

    What is overdue then happens at once and has no order, so only a takeover within a millisecond must lead to the same
    journal each time. Whatever happens, nothing recorded is changed, and the run comes to an end.
    """
    late = _gone_on(script, whole, cut, later_ms)
    for second in cuts(late.log, within=script.sliced, since=late.began):
        try:
            if later_ms <= 1:
                check_cut(script, late, second)
            else:
                _gone_on(script, late, second, later_ms)
        except Difference as difference:
            raise Difference(f"{cut}, taken over {later_ms} ms later; cut again {difference}") from None
    return late


def _gone_on(script: Script, whole: Played, cut: Cut, later_ms: int) -> Played:
    try:
        late = play(script, at=cut, of=whole, later_ms=later_ms)
    except TimeoutError:
        raise Difference(f"{cut}, {later_ms} ms later: the run is stuck") from None
    if is_trouble(late.result) and not (is_deadlock(late.result) and is_deadlock(whole.result)):
        raise Difference(f"{cut}, {later_ms} ms later: set aside: {late.result!r}")
    for run_id, journal in journals_at(whole, cut).items():
        if late.journals[run_id][: len(journal)] != journal:
            raise Difference(f"{cut}, {later_ms} ms later: the journal of run {run_id!r} was changed")
    repeated = set(_finished_jobs(whole, cut)) & set(late.world.asked)
    if repeated:
        raise Difference(f"{cut}, {later_ms} ms later: tasks ran again: {repeated}")
    return late


def compare(whole: Played, again: Played, cut: Cut) -> None:
    """Compare two plays of one script.

    Raises:
        Difference: results, journals or effects differ.
    """
    for run_id in whole.journals.keys() | again.journals.keys():
        _compare_journals(run_id, whole, again)
    expected, found = _plain(whole.result), _plain(again.result)
    if expected != found:
        raise Difference(f"the result is {found}, it was {expected}")
    begun = list(whole.world.jobs)
    if sorted(again.world.jobs) != sorted(begun):
        raise Difference(f"jobs {set(begun) ^ set(again.world.jobs)} ran in one of the plays only")
    finished = set(_finished_jobs(whole, cut))
    repeated = finished & set(again.world.asked)
    if repeated:
        raise Difference(f"tasks ran again though their results were recorded: {repeated}")


def _finished_jobs(whole: Played, cut: Cut) -> Iterator[tuple[str, int]]:
    """Return the jobs whose outcomes were recorded at a cut."""
    for run_id, journal in journals_at(whole, cut).items():
        for entry in journal:
            if entry.kind is Kind.TASK and entry.status is not Status.BEGUN:
                key = entry.step_id if entry.seq is None else entry.seq
                yield ids.idempotency_key(APP, run_id, 0, key or 0, entry.name), entry.attempt


def _compare_journals(run_id: str, whole: Played, again: Played) -> None:
    expected = whole.journals.get(run_id, [])
    found = again.journals.get(run_id, [])
    for old, new in zip(expected, found, strict=False):
        if _content(whole, old) != _content(again, new):
            raise Difference(f"run {run_id!r}: expected {describe(whole, old)}, found {describe(again, new)}")
    if len(expected) != len(found):
        longer, played = (expected, whole) if len(expected) > len(found) else (found, again)
        entry = describe(played, longer[min(len(expected), len(found))])
        raise Difference(f"run {run_id!r} has {len(found)} entries, it had {len(expected)}; the next: {entry}")


def _content(played: Played, entry: Entry) -> tuple[Any, ...]:
    return (*entry._replace(took=0, data=b""), _value(played, entry))


def _value(played: Played, entry: Entry) -> Any:
    if entry.kind is Kind.VALUE and entry.name in ("random", "uuid4"):
        return entry.name
    if entry.status is Status.ERROR or entry.status is Status.RETRY:
        # The traceback text belongs to the process; type and message to the run.
        return _plain(played.app.codec.decode_error(entry.data)) if entry.data else None
    if entry.data and not (entry.kind is Kind.RUN and entry.name == "start"):
        return _plain(played.app.codec.decode(entry.data, label="value"))
    return entry.data


def describe(played: Played, entry: Entry) -> str:
    """Return an entry as a line of text."""
    identity = entry.step_id or entry.seq or ""
    value = _value(played, entry)
    return (
        f"#{entry.position} +{entry.at - START_MS} ms {entry.kind.name} {entry.name} {identity} {entry.note} "
        f"{entry.status.name} {value!r}"
    )


class Drawn(NamedTuple):
    """Stands for a random value in results that are compared."""

    name: str


def _plain(value: Any) -> Any:
    """Return a result in a form that can be compared: errors by type and arguments, random values by their kind."""
    match value:
        case BaseExceptionGroup():
            return (type(value).__name__, value.message, [_plain(error) for error in value.exceptions])
        case BaseException():
            return (type(value).__name__, [_plain(arg) for arg in value.args])
        case {"drawn": str(name)}:
            return Drawn(name)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_plain(item) for item in value) if type(value) in (list, tuple) else value
        case _:
            return value
