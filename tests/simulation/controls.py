"""Positive controls: stores that are wrong on purpose, and that the simulation must find wrong.

They are broken where the product cannot be: in the simulated store itself, which stands for somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from durable.core.decisions import advances
from durable.core.decisions.advances import Hold
from durable.core.operations import Advance, Operation
from durable.core.records import WorkerId
from tests.simulation.mutating import Edit, Mutant
from tests.simulation.store import Fate, Request, SimStore


@contextmanager
def _fence_before() -> Iterator[None]:
    """Let the store look who owns a run when a batch sets out, and write it later without looking again."""
    owners: dict[int, set[int]] = {}
    execute, take_effect, judge = SimStore.execute, SimStore._take_effect, advances.judge
    lawful: set[int] = set()

    def remember(self: SimStore, batch: Sequence[Operation], worker: WorkerId | None = None) -> Any:
        rows = self.memory._tables.runs
        asked = [one for one in batch if isinstance(one, Advance) and one.run in rows]
        mine = {one.run for one in asked if (rows[one.run].owner, rows[one.run].life.epoch) == (one.worker, one.epoch)}
        future = execute(self, batch, worker)
        owners[id(self.on_the_way[-1])] = mine
        return future

    def write(self: SimStore, request: Request) -> None:
        lawful.clear()
        lawful.update(owners.pop(id(request), set()))
        take_effect(self, request)
        lawful.clear()

    def trust(advance: Advance, epoch: int, hold: Hold, next_position: int, is_stored: Any) -> Any:
        if advance.run in lawful and hold is Hold.NOTHING:
            hold, epoch = Hold.OWNS, advance.epoch
        return judge(advance, epoch, hold, next_position, is_stored)

    with (
        mock.patch.object(SimStore, "execute", remember),
        mock.patch.object(SimStore, "_take_effect", write),
        mock.patch.object(advances, "judge", trust),
    ):
        yield


@contextmanager
def _swallows_unknown() -> Iterator[None]:
    """Let the store answer what it has not written as if it had."""
    take_effect = SimStore._take_effect

    def write(self: SimStore, request: Request) -> None:
        if request.fate is Fate.LOST and all(isinstance(one, Advance) for one in request.batch):
            rows = self.memory._tables.runs
            before = {one.run: rows[one.run].life for one in request.batch if isinstance(one, Advance)}
            request.fate = Fate.DONE
            take_effect(self, request)
            for run, life in before.items():
                row = rows[run]
                row.life = life
                for position in [p for p in row.journal if p >= life.next_position]:
                    del row.journal[position], row.epochs[position]
        else:
            take_effect(self, request)

    with mock.patch.object(SimStore, "_take_effect", write):
        yield


UNFENCED: Final = Mutant(
    "unfenced store", "whoever writes a run, is believed",
    (Edit("core.decisions.advances:judge", "if hold is Hold.NOTHING or epoch != advance[2]:", "if epoch < 0:"),),
)  # fmt: skip

FENCED_BEFORE: Final = Mutant(
    "fence before the write", "the owner is looked up when a batch sets out, not when it is written",
    patch=_fence_before,
)  # fmt: skip

FORGETFUL: Final = Mutant(
    "store that swallows failures", "what was not written is answered as if it were",
    patch=_swallows_unknown,
)  # fmt: skip

CONTROLS: Final = (UNFENCED, FENCED_BEFORE, FORGETFUL)
