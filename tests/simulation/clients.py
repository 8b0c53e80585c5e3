"""Those who use the application: each asks for one thing, and asks again until there is an answer.

An `Errand` is a request to the public API, made in one of the processes. When that process dies, ends or cannot reach
the store, the answer is lost, and somebody runs the errand again, in any process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from durable import Workflow
from durable.errors import StoreError

if TYPE_CHECKING:
    from tests.simulation.world import Process, World

AGAIN: Final = object()
"""What an errand returns that has to be run again later."""

PATIENCE_MS: Final = (5, 60, 400)
"""Waits before an errand is run again."""

REPEATED: Final = 0.12
"""Share of the errands that are run once more although they were answered."""


@dataclass(eq=False)
class Errand:
    """A request that is made until it is answered."""

    what: str
    ask: Callable[[Workflow], Awaitable[Any]]
    """Makes the request; returns `AGAIN` if it has to be made again."""
    then: Callable[[Any], None] = lambda answer: None
    """Takes the first answer."""
    then_again: Callable[[Any], None] | None = None
    """Takes the answer of a repetition; None: it is never repeated once it is answered."""
    is_answered: bool = False


class Clients:
    """Everyone who uses the application in one schedule."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._under_way: dict[Errand, Process] = {}
        self.open = 0
        """Errands that are not answered."""
        self.on_done: Callable[[], None] = lambda: None
        world.on_death = self._died

    def send(self, errand: Errand, after_ms: float = 0) -> None:
        """Let somebody run an errand after a while."""
        self.open += 1
        self._world.after_ms(after_ms, self._set_out, errand)

    def _set_out(self, errand: Errand) -> None:
        world = self._world
        living = world.living()
        if not living:
            world.after_ms(50, self._set_out, errand)
            return
        self._set_out_from(errand, world.random.choice(living))

    def _set_out_from(self, errand: Errand, process: Process) -> None:
        self._under_way[errand] = process
        self._world.note(process, "errand", errand.what)
        process.spawn(self._run(errand, process))

    def send_by(self, errand: Errand, process: Process) -> None:
        """Let somebody run an errand in this process, now."""
        self.open += 1
        self._set_out_from(errand, process)

    async def _run(self, errand: Errand, process: Process) -> None:
        try:
            answer = await errand.ask(process.app)
        except StoreError:
            answer = AGAIN
        except Exception as error:
            self._world.violate(f"{errand.what} was answered {type(error).__name__}: {error}")
            return
        if self._under_way.get(errand) is process:
            del self._under_way[errand]
            self._answered(errand, answer)

    def _answered(self, errand: Errand, answer: Any) -> None:
        world = self._world
        if answer is AGAIN:
            self._again(errand)
            return
        world.note(None, "answer", f"{errand.what}: {answer!r}")
        self.open -= 1
        if errand.is_answered:
            assert errand.then_again is not None
            errand.then_again(answer)
        else:
            errand.is_answered = True
            errand.then(answer)
            if errand.then_again is not None and world.random.random() < REPEATED:
                self.send(errand, world.random.choice(PATIENCE_MS))
        self.on_done()

    def _again(self, errand: Errand) -> None:
        self._world.after_ms(self._world.random.choice(PATIENCE_MS), self._set_out, errand)

    def _died(self, process: Process) -> None:
        for errand in [errand for errand, where in self._under_way.items() if where is process]:
            del self._under_way[errand]
            self._again(errand)
