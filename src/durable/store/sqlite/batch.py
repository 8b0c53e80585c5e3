"""A batch in its transaction: operations in the order of the contract, each with its outcome."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from durable.core.records import WorkerId
from durable.store.checks import check_batch
from durable.store.operations import Advance, Claim, Committed, GoOn, Operation, Outcome, Settle, Start
from durable.store.sqlite.advances import advance_runs
from durable.store.sqlite.arrivals import tell
from durable.store.sqlite.requests import request, settle
from durable.store.sqlite.starts import claim, start_runs
from durable.store.sqlite.transaction import Transaction


def check(batch: Sequence[Operation]) -> None:
    """Refuse a malformed batch before anything is written; what is plainly right is not looked at twice.

    Raises:
        ValueError: as `durable.store.checks.check_batch`.
    """
    if len(batch) == 1 and _is_plain(batch[0]):
        return
    rest = [operation for operation in batch if not _is_plain(operation)]
    if rest or not batch:
        check_batch(rest)
    runs = [operation[0] for operation in batch if operation.__class__ is Advance]
    if len(set(runs)) < len(runs):
        raise ValueError("a run appears in at most one Advance of a batch")


def _is_plain(operation: Operation) -> bool:
    """Is this an Advance with one entry and nothing else? Most operations of a busy process are."""
    return (
        operation.__class__ is Advance
        and len(operation[3]) == 1
        and operation[4].__class__ is GoOn
        and operation[5] is None
    )


def execute_batch(transaction: Transaction, batch: Sequence[Operation], worker: WorkerId | None) -> Committed:
    """Execute a checked batch: starts, advances, all others as listed, claims.

    Raises:
        ValueError: an operation other than an Advance holds a value that no row can.
    """
    try:
        return _execute(transaction, batch, worker)
    except (OverflowError, sqlite3.DataError, sqlite3.InterfaceError) as error:
        raise ValueError(f"a value cannot be stored: {error}") from error


def _execute(transaction: Transaction, batch: Sequence[Operation], worker: WorkerId | None) -> Committed:
    # A run that is alone commits entry by entry; there the sorting would cost as much as the statements.
    if len(batch) == 1 and isinstance(alone := batch[0], Advance):
        outcomes = advance_runs(transaction, [alone])
    else:
        outcomes = _sort_and_execute(transaction, batch)
    pending = () if worker is None else tell(transaction, worker)
    return Committed(outcomes, transaction.made_due(), pending)


def _sort_and_execute(transaction: Transaction, batch: Sequence[Operation]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    starts = [(place, operation) for place, operation in enumerate(batch) if operation.__class__ is Start]
    advances = [(place, operation) for place, operation in enumerate(batch) if operation.__class__ is Advance]
    if starts:
        found = start_runs(transaction, [operation for _, operation in starts])
        outcomes.update(zip((place for place, _ in starts), found, strict=True))
    if advances:
        advanced = advance_runs(transaction, [operation for _, operation in advances])
        outcomes.update(zip((place for place, _ in advances), advanced, strict=True))
    if len(outcomes) < len(batch):
        _execute_others(transaction, batch, outcomes)
    return [outcomes[place] for place in range(len(batch))]


def _execute_others(transaction: Transaction, batch: Sequence[Operation], outcomes: dict[int, Outcome]) -> None:
    claims: list[tuple[int, Claim]] = []
    for place, operation in enumerate(batch):
        match operation:
            case Start() | Advance():
                pass
            case Claim():
                claims.append((place, operation))
            case Settle():
                outcomes[place] = settle(transaction, operation)
            case _:
                outcomes[place] = request(transaction, operation)
    for place, operation in claims:
        outcomes[place] = claim(transaction, operation)
