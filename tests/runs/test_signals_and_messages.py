"""Signals, delivered once; messages, received in order and each exactly once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import durable
from durable import EncodeError, RunNotFound, RunNotOpen, UsageError
from tests.runs.kit import Apps, Died, abandon, dies, flow, live, state


@pytest.mark.parametrize("payload", [None, 0, "", [], {}, False, (1, 2), {"a": {1, 2}}, b"x"], ids=repr)
async def test_every_payload_arrives_as_it_was(app, payload):
    @app.workflow(id="asks")
    async def asks() -> Any:
        return await app.signal("answer")

    await app.complete("asks", "answer", payload)
    result = await asks()
    assert result == payload
    assert type(result) is type(payload)


async def test_a_signal_may_be_rebuilt_to_a_type(app):
    @dataclass
    class Answer:
        text: str

    @app.workflow(id="asks")
    async def asks() -> str:
        answer = await app.signal("answer", result_type=Answer)
        return answer.text

    await app.complete("asks", "answer", {"text": "yes"})
    assert await asks() == "yes"


@pytest.mark.parametrize("when", ["before the run", "before the wait", "while it waits"])
async def test_a_signal_may_come_at_any_time(make_app: Apps, when):
    """Covers: F12"""
    app = make_app()
    go = asyncio.Event()

    @app.task
    async def prepare() -> None:
        await go.wait()

    @app.workflow(id="asks")
    async def asks() -> int:
        await prepare()
        return await app.signal("answer")

    async def deliver() -> None:
        assert await app.complete("asks", "answer", 1)
        assert not await app.complete("asks", "answer", 2)

    if when == "before the run":
        await deliver()
    async with app:
        handle = await asks.start()
        if when == "before the wait":
            await state(app, "asks", "running")
            await deliver()
        go.set()
        if when == "while it waits":
            await state(app, "asks", "suspended")
            await deliver()
        assert await handle.result() == 1


async def test_waiting_again_returns_the_same(app):
    @app.workflow(id="asks")
    async def asks() -> list[int]:
        return [await app.signal("answer"), await app.signal("answer")]

    await app.complete("asks", "answer", 7)
    assert await asks() == [7, 7]


async def test_many_who_complete_at_once_have_one_winner(app):
    """Covers: F11"""

    @app.workflow(id="asks")
    async def asks() -> int:
        return await app.signal("answer")

    won = await asyncio.gather(*(app.complete("asks", "answer", x) for x in range(50)))
    assert sum(won) == 1
    assert await asks() == won.index(True)


async def test_a_workflow_completes_a_signal_of_another_one_once(app):
    @app.workflow(id="asks")
    async def asks() -> int:
        return await app.signal("answer")

    @app.workflow(id="tells")
    async def tells() -> list[bool]:
        return [await app.complete("asks", "answer", 5), await app.complete("asks", "answer", 6)]

    assert await tells() == [True, False]
    assert await asks() == 5


@pytest.mark.parametrize("call", ["signal", "receive"])
async def test_waiting_outside_a_workflow_is_refused(app, call):
    with pytest.raises(UsageError, match="belongs in the body"):
        await getattr(app, call)("name")

    @app.task(retries=0)
    async def wrong() -> None:
        await getattr(app, call)("name")

    @app.workflow
    async def run() -> None:
        await wrong()

    with pytest.raises(UsageError, match="belongs in the body"):
        await run()


async def test_a_payload_that_cannot_be_stored_is_refused(app):
    with pytest.raises(EncodeError, match="payload of signal 'answer'"):
        await app.complete("asks", "answer", object())
    with pytest.raises(EncodeError, match="payload of message 'news'"):
        await app.send("asks", "news", object())


def reader(app, count: int):
    @app.workflow(id="reader")
    async def reads() -> list[Any]:
        return [await app.receive("news") for _ in range(count)]

    return reads


async def test_messages_are_received_in_order_each_once(make_app: Apps):
    app = make_app()
    reads = reader(app, 40)
    async with app:
        handle = await reads.start()
        for x in range(10):
            await handle.send("news", x)
        await state(app, "reader", "suspended")
        for x in range(10, 40):
            await handle.send("news", x)
        assert await handle.result() == list(range(40))


async def test_a_message_sent_twice_under_one_id_is_one(make_app: Apps):
    """Covers: F21"""
    app = make_app()
    reads = reader(app, 3)
    handle = await reads.start()
    for x in (1, 2, 3):
        for _ in range(3):
            await handle.send("news", x, id=f"message {x}")
    async with app:
        assert await handle.result() == [1, 2, 3]


async def test_names_of_messages_are_separate_lines(make_app: Apps):
    app = make_app()

    @app.workflow(id="reader")
    async def reads() -> list[str]:
        return [await app.receive("b"), await app.receive("a"), await app.receive("b")]

    handle = await reads.start()
    for name, text in (("a", "a1"), ("b", "b1"), ("b", "b2")):
        await handle.send(name, text)
    async with app:
        assert await handle.result() == ["b1", "a1", "b2"]


async def test_branches_that_wait_for_one_name_are_served_in_order(make_app: Apps):
    app = make_app()

    @app.workflow(id="reader")
    async def reads() -> list[int]:
        return list(await asyncio.gather(*(app.receive("news") for _ in range(4))))

    async with app:
        handle = await reads.start()
        await state(app, "reader", "suspended")
        for x in range(4):
            await handle.send("news", x)
        assert await handle.result() == [0, 1, 2, 3]


async def test_a_message_needs_a_run_that_has_not_ended(app):
    """Covers: F5"""

    @app.workflow(id="done")
    async def done() -> None: ...

    with pytest.raises(RunNotFound):
        await app.send("done", "news")
    await done()
    with pytest.raises(RunNotOpen, match="'done' has succeeded"):
        await app.send("done", "news")


async def test_workflows_send_to_each_other(make_app: Apps):
    app = make_app()

    @app.workflow(id="ping")
    async def ping() -> list[int]:
        got = []
        for x in range(5):
            await app.send("pong", "ball", x)
            got.append(await app.receive("ball"))
        return got

    @app.workflow(id="pong")
    async def pong() -> None:
        for _ in range(5):
            await app.send("ping", "ball", 10 * await app.receive("ball"))

    async with app:
        _ = await pong.start()
        assert await (await ping.start()).result() == [0, 10, 20, 30, 40]


def test_messages_outlive_a_crash_and_are_not_received_twice(make_app: Apps):
    """Covers: A12"""

    def program(dies_after: int):
        app = make_app()

        @app.task
        async def handle(x: int) -> int:
            if x == dies_after:
                raise Died
            return x

        @app.workflow(id="reader")
        async def reads() -> list[int]:
            return [await handle(await app.receive("news")) for _ in range(6)]

        return app

    first = program(3)

    async def sends_and_reads() -> None:
        handle = await flow(first, "reads").start()
        for x in range(6):
            await handle.send("news", x)
        await flow(first, "reads")()

    dies(first, sends_and_reads)
    second = program(-1)
    assert live(second, flow(second, "reads")) == list(range(6))
    abandon(second)


async def test_unread_messages_stay_when_a_run_continues_as_new(make_app: Apps):
    """Covers: A16"""
    app = make_app()

    @app.workflow(id="forever")
    async def forever(seen: list[int]) -> list[int]:
        seen = [*seen, await app.receive("news")]
        if len(seen) < 5:
            durable.continue_as_new(seen)
        return seen

    async with app:
        handle = await forever.start([])
        for x in range(5):
            await handle.send("news", x)
        assert await handle.result() == [0, 1, 2, 3, 4]
        assert (await app.runs.get("forever")).continuation == 4
        assert len(await app.runs.history("forever")) == 3
