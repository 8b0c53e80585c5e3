"""Races in a few of their orders, and the state machine for a while; the campaigns of these names play the rest."""

from __future__ import annotations

import pytest

from tests.simulation.machine import PROGRAMS, Machine, machine_case
from tests.simulation.mutants import MUTANTS
from tests.simulation.playing import Theatre
from tests.simulation.races import COUNT, OPS, SCRIPTS, interleavings, race_of
from tests.simulation.store import Fate


def test_the_races_are_all_orders_of_twice_six_acts():
    orders = list(interleavings())
    assert len(orders) == len(set(orders)) == 924
    assert all(len(order) == 2 * OPS and sum(order) == OPS for order in orders)
    assert all(len(script) == OPS for script in SCRIPTS)
    assert race_of(925) == (SCRIPTS[1], orders[1])


def test_a_signal_a_time_limit_a_cancellation_and_the_end_exclude_each_other_in_every_order():
    """Covers: F4, F5, F6, F7, F9, F12"""
    with Theatre() as theatre:
        for number in range(0, COUNT, 61):
            assert theatre.race(number) == [], race_of(number)


def test_clients_faults_and_time_may_come_in_any_order():
    with Theatre() as theatre:
        case, played = machine_case(theatre, examples=20, steps=40, seed_number=0, shrinks=False)
        case("runTest").debug()
        assert played.steps > 300


def test_the_machine_waits_for_starts_that_are_made_again():
    """A start whose first try had failed came after the messages, which were refused; then its run waited for ever."""
    with Theatre() as theatre:

        class Played(Machine):
            pass

        Played.theatre = theatre
        machine = Played()
        machine.begin(programs=[PROGRAMS[1], PROGRAMS[0], PROGRAMS[2]], direct=False)
        machine.fail(fates=[Fate.FAILED])
        machine.teardown()


def test_the_machine_sees_a_lost_wake_up():
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "signal wakes nobody")
    with mutant.applied(), Theatre() as theatre:
        case, _ = machine_case(theatre, examples=30, steps=20, seed_number=0, shrinks=False)
        with pytest.raises(AssertionError):
            case("runTest").debug()
