"""The runs that clients start, what they do with them, and what they must get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from durable import RunCancelled, RunFailed, RunNotFound, RunNotOpen, RunSetAside, RunTimedOut, Workflow
from durable.core.records import Kind, Reason, Requests, RunState, signal_id
from tests.simulation.bodies import Flaky, root_id
from tests.simulation.clients import AGAIN, Clients, Errand
from tests.simulation.programs import Program, expected, fits, letter, operations, payload

if TYPE_CHECKING:
    from tests.simulation.world import World

CANCELLED: Final = ("cancelled",)
TIMED_OUT: Final = ("timed out",)
ENDED: Final = (RunState.SUCCEEDED, RunState.CANCELLED)


class Root:
    """One run, with everything that clients want of it."""

    def __init__(self, world: World, clients: Clients, number: int, program: Program) -> None:
        self._world = world
        self._clients = clients
        self._random = world.random
        self.id = root_id(number)
        self.program = program
        self.expected = expected(program)
        self.has_result = False
        self.may_be_cancelled = self._random.random() < 0.3
        self.deadline_s = self._random.choice((0.03, 0.6, 2.5)) if self._random.random() < 0.12 else None
        """Longest time from its start, if there is one."""
        world.model.may_go_on(self.id, any(op[0] == "stubborn" for op in operations(program)))
        self.is_held = False
        """Does somebody want it to be paused?"""
        self._is_resuming = False
        self.pauses = 0
        """Requests to pause it."""
        if any(op[0] == "broken" for op in operations(program)):
            world.break_for(self.id)
            self.breaks = True
        else:
            self.breaks = False

    def begin(self) -> None:
        """Send the clients out."""
        after_ms = self._random.random() * 120
        how = self._random.random()
        if how < 0.5:
            self._clients.send(Errand(f"start {self.id}", self._start, self._started, self._started), after_ms)
            self._clients.send(Errand(f"result of {self.id}", self._result, self._got, self._got), after_ms)
        elif how < 0.75:
            for _ in range(self._random.choice((1, 1, 2, 3))):
                self._clients.send(Errand(f"call {self.id}", self._call, self._got, self._got), after_ms)
        else:
            for _ in range(self._random.choice((1, 2))):
                self._clients.send(Errand(f"start and call {self.id}", self._start_and_call, self._got), after_ms)
        self._send_signals_and_messages()
        if self.may_be_cancelled:
            self._clients.send(
                Errand(f"cancel {self.id}", self._cancel, self._was_cancelled, lambda answer: None),
                self._random.random() * self._random.choice((60, 300, 3_000)),
            )
        elif self._random.random() < 0.15:
            self.is_held = True
            self._clients.send(Errand(f"pause {self.id}", self._pause, self._paused), self._random.random() * 400)

    def _wrong(self, what: str) -> None:
        self._world.violate(f"{self.id}: {what}; its program is {self.program}")

    # Starting and waiting -------------------------------------------------------------------------------------------

    async def _start(self, app: Workflow) -> Any:
        play: Any = app.workflows["play"]
        return (await play.options(id=self.id, deadline=self.deadline_s).start(self.program)).id

    def _started(self, answer: Any) -> None:
        if self.id not in self._world.model.by_id:
            self._wrong("its start was acknowledged, and it is not there")

    async def _call(self, app: Workflow) -> Any:
        play: Any = app.workflows["play"]
        return await self._outcome(play.options(id=self.id, deadline=self.deadline_s)(self.program))

    async def _start_and_call(self, app: Workflow) -> Any:
        await self._start(app)
        return await self._call(app)

    async def _result(self, app: Workflow) -> Any:
        return await self._outcome(app.handle(self.id).result())

    async def _outcome(self, result: Any) -> Any:
        was_there = self.id in self._world.model.by_id
        try:
            return ["result", await result]
        except RunCancelled:
            return CANCELLED
        except RunTimedOut:
            return TIMED_OUT if self.has_timed_out() else AGAIN
        except RunSetAside as error:
            return AGAIN if error.reason == Reason.POISONED else ["set aside", str(error)]
        except (Flaky, RunFailed) as error:
            if isinstance(error, RunFailed) and self.has_timed_out():
                return TIMED_OUT
            return AGAIN if self.breaks else ["failed", str(error)]
        except RunNotFound:
            return ["not found"] if was_there else AGAIN

    def _got(self, answer: Any) -> None:
        self.has_result = True
        if answer is CANCELLED:
            run = self._world.model.by_id[self.id]
            if run.state is not RunState.CANCELLED or not self._cancelling_is_fine():
                self._wrong(f"is {run.state.label}, and a client was told that it is cancelled")
        elif answer is TIMED_OUT:
            """It has, and may."""
        elif answer[0] != "result" or not fits(self.expected, answer[1]):
            self._wrong(f"a client was given {answer}, expected {self.expected}")
        elif self._world.model.by_id[self.id].state is not RunState.SUCCEEDED:
            self._wrong("a client was given its result, which is not durable")

    def has_timed_out(self) -> bool:
        """Has it ended because its time was limited?"""
        row = self._world.find(self.id)
        is_limited = self.deadline_s is not None and row is not None and row.life.state is RunState.FAILED
        return is_limited and row is not None and row.life.reason == "RunTimedOut"

    def _cancelling_is_fine(self) -> bool:
        # A root that another one has started by waiting for it, is cancelled when that does not wait any longer.
        return self.may_be_cancelled or self._world.row(self.id).parent_id is not None

    # Signals and messages -------------------------------------------------------------------------------------------

    def _send_signals_and_messages(self) -> None:
        for op in operations(self.program, children=False):
            after_ms = self._random.random() * self._random.choice((100, 1_000, 4_000))
            if op[0] == "signal" or (op[0] == "race" and self._random.random() < 0.8):
                self._clients.send(self._signal(op[1]), after_ms)
            elif op[0] == "mail":
                self._clients.send(self._letter(op[1], 0, op[2] + self._random.randrange(2)), after_ms)

    def _signal(self, number: int) -> Errand:
        name = f"signal {number}"

        def settled(answer: Any) -> None:
            if signal_id(self.id, name) not in self._world.model.promises:
                self._wrong(f"{name} was acknowledged, and is not there")

        def settled_again(answer: Any) -> None:
            if answer:
                self._wrong(f"{name} was accepted as the first one twice")

        return Errand(
            f"{name} to {self.id}", lambda app: app.complete(self.id, name, payload(number)), settled, settled_again
        )

    def _letter(self, number: int, place: int, count: int) -> Errand:
        """Return the errand of sending a message, after whose answer the next one is sent."""
        message_id = f"letter {number} {place}"

        async def ask(app: Workflow) -> Any:
            try:
                await app.send(self.id, f"box {number}", letter(number, place), id=message_id)
            except RunNotFound:
                return AGAIN
            except RunNotOpen:
                # One that has failed goes on once the world is mended, or does so already.
                closed = self.has_timed_out() or self._world.row(self.id).life.state in ENDED
                return "closed" if closed else AGAIN
            return "sent"

        def sent(answer: Any) -> None:
            if answer == "sent" and message_id not in self._world.model.by_id[self.id].letters:
                self._wrong(f"{message_id} was acknowledged, and is not there")
            if answer == "sent" and place + 1 < count:
                self._clients.send(self._letter(number, place + 1, count), self._random.random() * 50)

        return Errand(f"{message_id} to {self.id}", ask, sent, lambda answer: None)

    # Requests -------------------------------------------------------------------------------------------------------

    async def _cancel(self, app: Workflow) -> Any:
        try:
            return await app.runs.cancel(self.id)
        except RunNotFound:
            return AGAIN

    def _was_cancelled(self, answer: Any) -> None:
        row = self._world.row(self.id)
        is_known = (
            row.life.state.is_final
            or Requests.CANCEL in row.life.requests
            or any(entry.kind is Kind.RUN and entry.name == "cancel" for entry in row.journal.values())
        )
        if answer and not is_known:
            self._wrong("its cancellation was acknowledged, and nothing is known of it")

    async def _pause(self, app: Workflow) -> Any:
        self.pauses += 1
        try:
            return await app.runs.pause(self.id)
        except RunNotFound:
            return AGAIN

    def _paused(self, answer: Any) -> None:
        self._world.after_ms(self._random.random() * self._random.choice((20, 2_000)), self._want_resumed)

    def _want_resumed(self) -> None:
        self.is_held = False
        self._is_resuming = True
        errand = self.resumption()
        errand.then = self._resumed
        self._clients.send(errand)

    def _resumed(self, answer: Any) -> None:
        self._is_resuming = False

    def resumption(self) -> Errand:
        """Return the errand of letting it go on."""
        return Errand(f"resume {self.id}", lambda app: app.runs.resume(self.id), then_again=lambda answer: None)

    def found_paused(self) -> Errand | None:
        """Return what to do if nobody wants it to be paused, and it is."""
        if self.is_held or self.pauses > 1:
            # A request whose answer was lost may have been written after the one to go on.
            return None if self.is_held else self.resumption()
        if not self._is_resuming:
            self._wrong("is paused although it was resumed")
        return None

    # The end --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Compare what the database says with what was to be expected."""
        row = self._world.row(self.id)
        if row.life.state is RunState.CANCELLED:
            if not self._cancelling_is_fine():
                self._wrong("is cancelled, and nobody asked for that")
            return
        if self.has_timed_out():
            return
        if row.life.state is not RunState.SUCCEEDED:
            self._wrong(f"is {row.life.state.label}: {row.life.reason} {row.life.detail}")
            return
        result = self._world.codec.decode(row.last_entry().data, Any, label="result")
        if not fits(self.expected, result):
            self._wrong(f"its result is {result}, expected {self.expected}")
