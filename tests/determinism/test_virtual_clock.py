"""The clock of these tests: it stands still until an idle loop moves it."""

import asyncio
import threading
from datetime import timedelta

from tests.support.clock import START_MS, VirtualClock


def test_it_jumps_only_when_nothing_else_is_left_to_do() -> None:
    clock = VirtualClock()
    seen: list[str] = []

    async def spin() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        seen.append(f"spun {clock.now_ms() - START_MS}")

    async def main() -> None:
        spinner = asyncio.ensure_future(spin())
        await clock.sleep(timedelta(days=400))
        seen.append(f"slept {clock.now_ms() - START_MS}")
        await spinner

    with clock.runner() as runner:
        runner.run(main())
    assert seen == ["spun 0", f"slept {400 * 86_400_000}"]


def test_alarms_ring_in_the_order_of_time_then_rank_then_setting() -> None:
    clock = VirtualClock(0)
    seen: list[str] = []

    async def main() -> None:
        for name, at, rank in (("d", 20, 0), ("c", 10, 5), ("a", 10, 0), ("b", 10, 0)):
            clock.ring_at(at, lambda name=name: seen.append(f"{name}{clock.now_ms()}"), rank=rank)  # type: ignore[misc]
        clock.ring_at(15, lambda: seen.append("cancelled")).cancel()
        await clock.sleep_until(30)

    with clock.runner() as runner:
        runner.run(main())
    assert seen == ["a10", "b10", "c10", "d20"]


def test_what_one_alarm_sets_going_ends_before_the_next_one_rings() -> None:
    clock = VirtualClock(0)
    seen: list[int] = []

    async def work(number: int) -> None:
        await clock.sleep_until(5, rank=number)
        for _ in range(10):
            seen.append(number)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(work(2), work(1))

    with clock.runner() as runner:
        runner.run(main())
    assert seen == [1] * 10 + [2] * 10


def test_threads_hold_it() -> None:
    clock = VirtualClock(0)
    seen: list[int] = []
    begun = threading.Event()

    def work() -> None:
        begun.set()
        seen.append(clock.now_ms())

    async def main() -> None:
        thread = asyncio.to_thread(work)
        await asyncio.gather(thread, clock.sleep(1))

    with clock.runner() as runner:
        runner.run(main())
    assert begun.is_set()
    assert (seen, clock.now_ms()) == ([0], 1_000)


def test_a_time_that_has_passed_rings_as_soon_as_the_loop_is_idle() -> None:
    clock = VirtualClock(1_000)

    async def main() -> int:
        await clock.sleep_until(10)
        return clock.now_ms()

    with clock.runner() as runner:
        assert runner.run(main()) == 1_000
    assert clock.has_come(1_000)
    assert not clock.has_come(1_001)
    assert not clock.jump()


def test_it_can_be_set_forward_but_not_back() -> None:
    clock = VirtualClock(100)
    clock.set_forward(500)
    clock.set_forward(200)
    assert clock.now_ms() == 500


def test_alarms_of_a_loop_that_is_gone_do_not_ring() -> None:
    clock = VirtualClock(0)
    seen: list[str] = []

    async def main() -> None:
        clock.ring_at(5, lambda: seen.append("rang"))

    with clock.runner() as runner:
        runner.run(main())
    assert clock.next_at is None
    assert not seen
