"""What happened in a play, in order: what bodies asked for, what tasks did, what was recorded, who died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from durable.core.records import Kind, Status
from durable.errors import UsageError
from durable.runtime.activation import Activation
from durable.runtime.specs import Body
from durable.runtime.steps import TaskOperation
from durable.testing.crashes.store import Boundary, CrashPoint
from durable.testing.effects import Effect, Effects
from durable.testing.places import Place, place_in_thread, place_of_caller, thread_computes

THREAD_SECONDS_MAX: Final = 10.0
"""Longest time in which a plain body comes to its next step."""

THREAD_POLL_SECONDS: Final = 0.0002
"""How often to look whether it has: nothing tells of it but its stack, while the loop stands still."""


class Asked(NamedTuple):
    """A body asked for a durable operation."""

    run_id: str
    key: int
    """Its number; negative for an operation with a step id."""
    kind: Kind
    name: str
    place: Place | None
    activation: int


class Began(NamedTuple):
    """An attempt of a task began."""

    key: str
    """The step's idempotency key."""
    task: str
    run_id: str


class Ended(NamedTuple):
    """An attempt of a task ended, well or badly; its outcome is not recorded yet."""

    key: str


class Happened(NamedTuple):
    """An effect was seen."""

    effect: Effect
    activation: int
    """Number of the stretch of its run, 0 if unknown."""
    makers: frozenset[str] = frozenset()
    """Steps whose attempts may have made it, where that was not said."""


class Passed(NamedTuple):
    """A commit was made."""

    boundary: Boundary


class Death(NamedTuple):
    """The process died."""

    point: CrashPoint


TapeEvent: TypeAlias = Asked | Began | Ended | Happened | Passed | Death


@dataclass
class Tape:
    """Records one play.

    Everything happens on one thread, or while the others wait for it; so the order is that of time.
    """

    watched: tuple[Watched, ...] = ()
    notes_places: bool = True
    """Note the lines of code? That of every step in every play would take most of the time."""
    events: list[TapeEvent] = field(default_factory=list)
    ledger: Effects = field(default_factory=Effects)
    _activations: dict[Activation, int] = field(default_factory=dict)
    _dead: set[Any] = field(default_factory=set)
    _hosts: set[Any] = field(default_factory=set)
    _in_flight: Counter[str] = field(default_factory=Counter)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.ledger.hears = self._hear

    # Told by the engine ---------------------------------------------------------------------------------------------

    def step(self, act: Activation, kind: Kind, name: str, key: int) -> None:
        """Note what a body asks for, and from which line."""
        if self._is_dead(act):
            return
        self._look(act)
        place = _place_of_step(act) if self.notes_places else None
        self.events.append(Asked(act.run_id, key, kind, name, place, self._number(act)))

    def began(self, op: TaskOperation) -> None:
        """Note that an attempt begins."""
        if not self._is_dead(op.act):
            self._look(None)
            self._in_flight[op.idempotency_key] += 1
            self.events.append(Began(op.idempotency_key, op.name, op.act.run_id))

    def ended(self, op: TaskOperation) -> None:
        """Note that an attempt ends."""
        if not self._is_dead(op.act):
            self._look(None)
            self._in_flight[op.idempotency_key] -= 1
            self.events.append(Ended(op.idempotency_key))

    def passed(self, boundary: Boundary) -> None:
        """Note a commit."""
        self._look(None)
        self.events.append(Passed(boundary))

    def settle(self) -> None:
        """Let plain bodies that compute in threads come to where they wait: no thread dies in the middle of a line."""
        for host in self._hosts - self._dead:
            for act in host.active.values():
                if act.computing:
                    _wait_for_thread(f"durable-{act.run_id}")

    def died(self, point: CrashPoint) -> None:
        """Note a death: nobody who lived until now is heard any more."""
        self._look(None)
        self._dead |= self._hosts
        self._in_flight.clear()
        self.events.append(Death(point))

    def close(self) -> None:
        """Note nothing any more: what is unwound now would not have been, in a process that died."""
        if not self._closed:
            self._look(None)
        self._closed = True

    # Effects --------------------------------------------------------------------------------------------------------

    def _hear(self, effect: Effect) -> bool:
        act = effect.activation
        if self._closed or (act is not None and self._is_dead(act)):
            return False
        self.events.append(Happened(effect, 0 if act is None else self._number(act)))
        return True

    def _look(self, act: Activation | None) -> None:
        """See what is new in what is watched. Without an attempt in flight, nobody but a body can have done it."""
        if self._closed:
            return
        makers = frozenset(key for key, count in self._in_flight.items() if count)
        for watched in self.watched:
            for item in watched.new_items():
                by = "task" if makers else "body"
                effect = Effect(f"{watched.name}: {item}", by=by, run_id=act.run_id if act else "")
                self.events.append(Happened(effect, self._number(act) if act else 0, makers))

    def _is_dead(self, act: Activation) -> bool:
        self._hosts.add(act.host)
        return self._closed or act.host in self._dead

    def _number(self, act: Activation) -> int:
        return self._activations.setdefault(act, len(self._activations) + 1)

    # What was recorded ----------------------------------------------------------------------------------------------

    @property
    def boundaries(self) -> list[Boundary]:
        """The commits that were made, in order."""
        return [event.boundary for event in self.events if isinstance(event, Passed)]

    @property
    def happened(self) -> list[Happened]:
        """The effects, in order."""
        return [event for event in self.events if isinstance(event, Happened)]

    def begins(self) -> Counter[str]:
        """Return how many attempts of each step began."""
        return Counter(event.key for event in self.events if isinstance(event, Began))

    @property
    def interrupts_at_most_once(self) -> bool:
        """Did the process die during an at-most-once attempt? Its workflow is told so, and may go another way."""
        begun: set[tuple[str, int | str | None]] = set()
        for event in self.events:
            match event:
                case Passed(boundary):
                    for run_id, entry in boundary.recorded:
                        if entry.kind is Kind.TASK:
                            step = run_id, entry.seq if entry.step_id is None else entry.step_id
                            (begun.add if entry.status is Status.BEGUN else begun.discard)(step)
                case Death() if begun:
                    return True
                case _:
                    pass
        return False


def _place_of_step(act: Activation) -> Place | None:
    found = place_of_caller()
    if found is None and act.spec.body is Body.PLAIN:
        return place_in_thread(f"durable-{act.run_id}")
    return found


def _wait_for_thread(name: str) -> None:
    until = monotonic() + THREAD_SECONDS_MAX
    while monotonic() < until and thread_computes(name):
        sleep(THREAD_POLL_SECONDS)


# Watched objects ------------------------------------------------------------------------------------------------------


class Watched:
    """A list, a set or a mock to which code under test adds what it does.

    Raises:
        UsageError: it is none of them.
    """

    def __init__(self, name: str, target: object) -> None:
        self.name = name
        self._target = target
        self._first = list(self._items())
        self._seen: Counter[str] = Counter()
        self._length = -1
        self.rewind()

    def _items(self) -> list[Any]:
        target = self._target
        if _is_mock(target):
            return list(target.mock_calls)
        found = target() if callable(target) else target
        if not isinstance(found, (list, set)):
            raise UsageError(
                f"watch={{{self.name!r}: {self._target!r}}}: expected a list, a set, a mock, or a function that "
                "returns a list or set"
            )
        return list(found) if isinstance(found, list) else sorted(found, key=repr)

    def new_items(self) -> list[str]:
        """Return what was added since the last call, as text."""
        items = self._items()
        if len(items) == self._length:
            return []
        self._length = len(items)
        now = Counter(map(repr, items))
        new = now - self._seen
        self._seen = now
        return list(new.elements())

    def rewind(self) -> None:
        """Let the object be as it was at first; what a function returns is for its owner to set back."""
        target = self._target
        if _is_mock(target):
            target.reset_mock()
        elif isinstance(target, list):
            target[:] = self._first
        elif isinstance(target, set):
            target.clear()
            target.update(self._first)
        self._length = -1
        self._seen = Counter(map(repr, self._items()))
        self._length = sum(self._seen.values())


def _is_mock(target: object) -> TypeGuard[Any]:
    return hasattr(target, "mock_calls") and hasattr(target, "reset_mock")


def watched_of(watch: Mapping[str, object] | Callable[[], Any] | None) -> tuple[Watched, ...]:
    """Return what a test wants to be watched.

    Raises:
        UsageError: it is no mapping of names to lists, sets and mocks.
    """
    if watch is None:
        return ()
    if not isinstance(watch, Mapping):
        raise UsageError(f"watch={watch!r}: expected names with what is watched, such as {{'sent': mailer.sent}}")
    return tuple(Watched(name, target) for name, target in watch.items())
