"""What has happened outside a body and waits to be applied, one at a time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from durable.core.records import Message, Pending, Requests, Settled, Status, Wait
from durable.errors import RunCancelled
from durable.runtime.steps import MISSING
from durable.runtime.waits import ChildOperation, MessageOperation, WaitOperation

if TYPE_CHECKING:
    from durable.codec.base import Codec
    from durable.runtime.steps import Operation

CANCEL: Final = "cancel"
LIMITS: Final = ("timeout", "deadline")


class Arrival(NamedTuple):
    """Something that has happened."""

    operation: Operation | None
    """None for a request to the run itself, which `name` tells."""
    status: Status
    data: bytes
    value: Any
    """The decoded value, `MISSING` if it has to be decoded from `data`."""
    took: int = 0
    due_at: int = 0
    name: str = ""


class Arrivals:
    """The line of arrivals of one activation."""

    __slots__ = ("_given", "_messages", "_open", "cancel_requested", "cancel_waits", "line", "pause_requested")

    def __init__(self, open_operations: dict[int, Operation]) -> None:
        self.line: deque[Arrival] = deque()
        self.pause_requested = False
        self.cancel_requested = False
        """Is a cancellation in the line, or applied and not durable yet? Being told of it again means nothing new."""
        self.cancel_waits = False
        """Is a cancellation in the line? Then nothing starts before it has been applied."""
        self._open = open_operations
        self._messages: dict[int, Message] = {}
        self._given: set[int] = set()
        """Messages that an operation was given; the store tells of them until their consumption is durable."""

    def request(self, name: str, note: str = "") -> None:
        """The run is to be cancelled, or has reached a limit."""
        if name == CANCEL:
            self.cancel_requested = self.cancel_waits = True
        self.line.append(Arrival(None, Status.OK, note.encode(), MISSING, name=name))

    def tell(self, pending: Pending, codec: Codec) -> list[Wait]:
        """Take in what the store says has arrived; return the waits that nobody here has (any more).

        May be told twice: what is known already is dropped when applied.
        """
        strays: list[Wait] = []
        if pending.requests & Requests.CANCEL and not self.cancel_requested:
            self.request(CANCEL, pending.reason)
        if pending.requests & Requests.PAUSE:
            self.pause_requested = True
        for settled in pending.settled:
            op = self._open.get(settled.seq)
            if not isinstance(op, WaitOperation) or op.target != settled.target:
                strays.append(Wait(settled.seq, settled.target))
            elif not (isinstance(op, ChildOperation) and op.puts_off(settled)):
                self.settle(op, settled, codec)
        new = (message for message in pending.messages if message.number not in self._given)
        self._messages.update((message.number, message) for message in new)
        self.match_messages()
        return strays

    def settle(self, op: WaitOperation, settled: Settled, codec: Codec) -> None:
        """What an operation waits for has happened."""
        if settled.missing or not (settled.ok or settled.data):
            # The latter: a run that was cancelled before anybody had claimed it has no encoded error.
            error = op.missing() if settled.missing else RunCancelled(op.target[2:])
            data = codec.encode_error(error, aad=op.place)
            self.line.append(Arrival(op, Status.ERROR, data, MISSING))
        else:
            self.line.append(Arrival(op, Status.OK if settled.ok else Status.ERROR, settled.data, MISSING))

    def match_messages(self) -> None:
        """Give unread messages to the operations that wait for them, oldest to oldest."""
        if not self._messages:
            return
        for op in [op for op in self._open.values() if isinstance(op, MessageOperation) and not op.number]:
            found = min((n for n, m in self._messages.items() if m.name == op.name), default=None)
            if found is not None:
                op.number = found
                self._given.add(found)
                self.line.append(Arrival(op, Status.OK, self._messages.pop(found).data, MISSING))

    def give_back(self, op: MessageOperation, data: bytes) -> None:
        """The operation was withdrawn before its message was applied: the next one that waits gets it."""
        self._given.discard(op.number)
        self._messages[op.number] = Message(op.number, op.name, data)
        self.match_messages()
