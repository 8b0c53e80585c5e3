"""A state machine that hypothesis drives: clients, faults and time, in any order, against real engines.

Where schedules draw everything from one seed, hypothesis chooses here, looks for what is rare, and shrinks what fails
to a short program of rules. The world, the model and the checks are those of the schedules.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any, Final
from unittest import TestCase

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from durable import RunNotFound, RunNotOpen, Workflow
from durable.core.records import RunState
from tests.simulation.bodies import root_id
from tests.simulation.clients import AGAIN, Clients, Errand
from tests.simulation.faults import Blow, Faults
from tests.simulation.limits import Limits
from tests.simulation.playing import Theatre
from tests.simulation.programs import Program, expected, fits, payload
from tests.simulation.store import Fate
from tests.simulation.world import Process

PROGRAMS: Final[tuple[Program, ...]] = (
    [["step", 1, 8], ["retried", 2, 2, 3, 60], ["named", 3, 0]],
    [["sleep", 1, 300, 0], ["once", 2, 20], ["sleep", 3, 1_400, 1]],
    [["signal", 1, 0], ["mail", 2, 2]],
    [["race", 1, 950], ["par", 2, [[["step", 3, 8]], [["sleep", 4, 30, 1]]], "gather"]],
    [["saga", 1, [["step", 2, 0], ["child", 3, [["sleep", 4, 1_000, 0]], "named"], ["signal", 5, 0]]]],
    [["value", 1, 0], ["again", 2, [["mail", 3, 1], ["map", 4, 3, 2]]]],
)
"""What runs do. Their signals and messages are numbered 1 to 5."""

RUNS_MAX: Final = 4
WAITS_MS: Final = (0, 1, 7, 60, 400, 1_100)
NUMBERS: Final = st.integers(1, 5)
RUN: Final = st.integers(0, RUNS_MAX - 1)
END_MS: Final = 120_000
"""Time in which everything must have ended once nothing goes wrong any more."""


class Machine(RuleBasedStateMachine):
    """Two workers, a client, and whatever happens to them."""

    theatre: Theatre
    """Where it is played; set by whoever runs it."""
    steps = 0
    """Rules that were played so far, by all examples."""

    def __init__(self) -> None:
        super().__init__()
        source = random.Random(0)
        self.stack = ExitStack()
        self.limits = Limits(source)
        self.limits.make_calm()
        self.stack.enter_context(self.limits.applied())
        self.faults = Faults(source, (), errs=False)
        self.world = self.theatre.new_world(source, self.limits, self.faults)
        self.clients = Clients(self.world)
        self.programs: list[Program] = []
        self.cancelled: set[int] = set()
        self.letters = 0
        for slot in (0, 1, 2):
            self.world.launch(slot, is_worker=slot < 2)
        self.pass_ms(10)

    # What there is --------------------------------------------------------------------------------------------------

    def pass_ms(self, ms: int) -> None:
        """Let time pass."""
        if not self.world.violations:
            self.world.run_until(self.world.now_us + ms * 1000 + 1)

    def process(self, slot: int) -> Process | None:
        """Return who lives in a slot."""
        return next((process for process in self.world.processes if process.slot == slot), None)

    def ask(self, what: str, ask: Any, then: Any = lambda answer: None) -> None:
        """Let a client ask for something, somewhere."""
        self.clients.send(Errand(what, ask, then))
        self.pass_ms(1)

    @initialize(programs=st.lists(st.sampled_from(PROGRAMS), min_size=3, max_size=RUNS_MAX), direct=st.booleans())
    def begin(self, programs: list[Program], direct: bool) -> None:
        """Start runs, or call the first one."""
        self.programs = programs
        for number, program in enumerate(programs):
            if direct and number == 0:
                self.ask(f"call {number}", self._call(number))
            else:
                self.ask(f"start {number}", self._start(number, program))

    def _start(self, number: int, program: Program) -> Any:
        async def ask(app: Workflow) -> Any:
            play: Any = app.workflows["play"]
            return (await play.options(id=root_id(number)).start(program)).id

        return ask

    def _call(self, number: int) -> Any:
        async def ask(app: Workflow) -> Any:
            play: Any = app.workflows["play"]
            try:
                return await play.run(root_id(number), self.programs[number])
            except Exception as error:  # compared with the database at the end
                return AGAIN if self.row(number) is None else type(error).__name__

        return ask

    def row(self, number: int) -> Any:
        """Return a run as the database has it, None if it is not there."""
        return self.world.find(root_id(number))

    # Clients --------------------------------------------------------------------------------------------------------

    @rule(run=RUN, number=NUMBERS)
    def complete(self, run: int, number: int) -> None:
        """Complete a signal, of a run that may not exist."""
        self.ask(
            f"complete {run} {number}", lambda app: app.complete(root_id(run), f"signal {number}", payload(number))
        )

    @rule(run=RUN, number=NUMBERS, again=st.booleans())
    def send(self, run: int, number: int, again: bool) -> None:
        """Send a message, or the last one once more."""
        self.letters += not again
        place = self.letters

        async def ask(app: Workflow) -> str:
            try:
                await app.send(root_id(run), f"box {number}", [number, place], id=f"letter {place} {run}")
            except (RunNotFound, RunNotOpen) as error:
                return type(error).__name__
            return "sent"

        self.ask(f"send {run} {number}", ask)

    @rule(run=RUN)
    def cancel(self, run: int) -> None:
        """Cancel a run."""
        self.cancelled.add(run)
        self.ask(f"cancel {run}", self._request(lambda app: app.runs.cancel(root_id(run))))

    @rule(run=RUN, resumes=st.booleans())
    def pause(self, run: int, resumes: bool) -> None:
        """Pause a run, or let it go on."""
        name = "resume" if resumes else "pause"
        self.ask(f"{name} {run}", self._request(lambda app: getattr(app.runs, name)(root_id(run))))

    def _request(self, request: Any) -> Any:
        async def ask(app: Workflow) -> Any:
            try:
                return await request(app)
            except RunNotFound:
                return "not found"

        return ask

    # Time and faults ------------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from(WAITS_MS))
    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.pass_ms(ms)

    @rule(slot=st.integers(0, 2), blow=st.sampled_from((Blow.CRASH, Blow.PAUSE, Blow.BURY, Blow.FREEZE, Blow.STOP)))
    def hit(self, slot: int, blow: Blow) -> None:
        """Let something happen to a process."""
        process = self.process(slot)
        if process is not None:
            self.world._fall(blow, process)
            self.pass_ms(1)

    @rule(fates=st.lists(st.sampled_from((Fate.FAILED, Fate.LOST, Fate.UNANSWERED)), min_size=1, max_size=2))
    @precondition(lambda self: not self.faults.fates)
    def fail(self, fates: list[Fate]) -> None:
        """Let the next writes fail."""
        self.faults.fates.extend(fates)
        self.pass_ms(2)

    # What must be true ----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_wrong(self) -> None:
        """The model checks every write and every effect."""
        type(self).steps += 1
        assert not self.world.violations, self.world.violations[0]

    def teardown(self) -> None:
        """Let nothing go wrong any more; then everything must come to its end."""
        try:
            if not self.world.violations:
                self._end()
            assert not self.world.violations, self.world.violations[0]
        finally:
            self.world.clear_away()
            self.stack.close()
            self.theatre.tidy()

    def _end(self) -> None:
        self.faults.fates.clear()
        self.world.calm_down()
        self._wait_for_starts()
        for run in range(len(self.programs)):
            self._let_end(run)
        for _ in range(END_MS // 1_000):
            self.pass_ms(1_000)
            if self.world.violations or (self._all_ended() and not self.clients.open):
                break
            self._rescue()
        else:
            self.world.violate(f"stuck: {[row.life for row in self.world.rows() if not row.life.state.is_final]}")
        for run, program in enumerate(self.programs):
            self._check(run, program)

    def _wait_for_starts(self) -> None:
        """A start that failed is made again after a while, and a message needs a run that is there."""
        for _ in range(END_MS // 100):
            if self.world.violations or all(self.row(run) is not None for run in range(len(self.programs))):
                return
            self.pass_ms(100)

    def _let_end(self, run: int) -> None:
        """Send a run all that it may wait for."""
        for number in range(1, 6):
            self.complete(run, number)
            for _ in range(2):
                self.send(run, number, again=False)
        self.pause(run, resumes=True)

    def _rescue(self) -> None:
        for row in self.world.rows():
            if row.life.state is RunState.PAUSED:
                self.pause(int(row.run_id.removeprefix("root-").split(".")[0]), resumes=True)
            elif row.life.state is RunState.SET_ASIDE:
                run_id = row.run_id
                self.ask(f"retry {run_id}", lambda app, run_id=run_id: _retry(app, run_id))

    def _all_ended(self) -> bool:
        return len(self.world.model.by_id) >= len(self.programs) and self.world.model.all_final()

    def _check(self, run: int, program: Program) -> None:
        row = self.row(run)
        if self.world.violations:
            return
        if row.life.state is RunState.SUCCEEDED:
            result = self.world.codec.decode(row.last_entry().data, Any, label="result")
            if not _fits_but_letters(expected(program), result):
                self.world.violate(f"run {run} gave {result}, expected {expected(program)}")
        elif row.life.state is not RunState.CANCELLED or run not in self.cancelled:
            self.world.violate(f"run {run} is {row.life.state.label}: {row.life.detail}")


async def _retry(app: Workflow, run_id: str) -> str:
    try:
        await app.runs.retry(run_id)
    except RunNotOpen:
        return "not open"
    return "retried"


def _fits_but_letters(want: Any, found: Any) -> bool:
    """As `fits`, but for the messages, whose order is the model's affair: there are as many as expected."""
    if isinstance(want, list) and isinstance(found, list) and len(want) == len(found):
        return all(map(_fits_but_letters, want, found))
    return fits(want, found) or (isinstance(want, int) and isinstance(found, int))


def machine_case(
    theatre: Theatre, *, examples: int, steps: int, seed_number: int, shrinks: bool
) -> tuple[type[TestCase], type[Machine]]:
    """Return a test case that plays so many examples of so many rules each, and the machine that counts them."""

    class Played(Machine):
        pass

    Played.theatre = theatre
    seed(seed_number)(Played)
    case: type[TestCase] = Played.TestCase
    phases = [Phase.generate, *([Phase.shrink] if shrinks else [])]
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, phases=phases,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    return case, Played
