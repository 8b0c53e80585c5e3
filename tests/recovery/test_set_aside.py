"""Runs that cannot go on are set aside with a reason, and go on when the reason is gone; the others proceed."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import DurableError, RunSetAside
from tests.runs.kit import Apps, Child, Died, abandon, dies, flow, live, notes, state

KILLER = """
    wf = Workflow("app", db=DB)
    MENDED = len(sys.argv) > 2

    @wf.task
    async def step(name: str) -> str:
        note(name)
        if name == "deadly" and not MENDED:
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    @wf.workflow(id="killer")
    async def killer() -> list[str]:
        return [await step("before"), await step("deadly"), await step("after")]

    @wf.workflow(id="harmless-{n}")
    async def harmless(n: int) -> int:
        for _ in range(3):
            await step(f"harmless {n}")
        return n

    async def main():
        async with wf:
            await killer.start()
            for n in range(3):
                await harmless.start(n)
            while (await wf.runs.get("killer")).state.label not in ("set aside", "succeeded"):
                await asyncio.sleep(0.01)
            for n in range(3):
                say(f"result {await wf.handle(f'harmless-{n}').result()}")
            record = await wf.runs.get("killer")
            say(f"{record.state.label}: {record.reason}")
            if MENDED:
                await wf.runs.retry("killer")
                say(str(await wf.handle("killer").result()))

    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_step_that_kills_the_process_every_time_is_poisoned_after_five_deaths_and_others_proceed(file):
    """Covers: A21"""
    lives = 0
    while lives < 15:
        lives += 1
        with Child(KILLER, file) as child:
            if child.ended(60) == 0:
                assert child.rest() == ["result 0", "result 1", "result 2", "set aside: poisoned"]
                break
    assert notes(file).count("deadly") == 5
    assert notes(file).count("before") == 1
    with Child(KILLER, file, "mended") as child:
        child.hears("set aside: poisoned")
        child.hears("['before', 'deadly', 'after']")
        assert child.ended() == 0
    assert notes(file).count("before") == 1


def versions(make_app: Apps, ran: list[str], *, deadly: bool = False):
    """Return a function that makes the application with a body of one's choice."""

    def program(names: list[str], deadly: bool = False):
        app = make_app()

        @app.task
        async def step(name: str) -> str:
            if deadly and name == names[-1]:
                raise Died
            ran.append(name)
            return name

        @app.workflow(id="run")
        async def run() -> list[str]:
            return [await step(name) for name in names]

        return app

    return program


@pytest.mark.parametrize("changed", [["a", "x", "c"], ["b", "a", "c"], ["x", "a", "b", "c"], ["a"], []], ids="-".join)
def test_changed_code_sets_a_run_aside_before_any_effect_and_it_goes_on_when_the_code_is_put_back(
    make_app: Apps, changed: list[str]
):
    """Covers: G1, G2, G3, G12"""
    ran: list[str] = []
    program = versions(make_app, ran)
    original, other, back = program(["a", "b", "c"], True), program(changed), program(["a", "b", "c"])
    dies(original, flow(original, "run"))
    with pytest.raises(DurableError):
        live(other, flow(other, "run"))
    assert ran == ["a", "b"]

    async def look() -> str:
        record = await other.runs.get("run")
        return f"{record.state.label}: {record.reason}"

    assert live(other, look) == "set aside: code changed"
    assert live(back, flow(back, "run")) == ["a", "b", "c"]
    abandon(back)
    assert ran == ["a", "b", "c"]


def test_a_worker_tries_again_what_was_set_aside_for_its_code(make_app: Apps):
    """Covers: G1, G12"""
    ran: list[str] = []
    program = versions(make_app, ran)
    original, other, back = program(["a", "b", "c"], True), program(["x"]), program(["a", "b", "c"])
    dies(original, flow(original, "run"))

    async def works_with(app, *wanted: str) -> str:
        async with app:
            return await state(app, "run", *wanted)

    assert live(other, lambda: works_with(other, "set aside"))
    assert live(back, lambda: works_with(back, "succeeded"))
    abandon(back)
    assert ran == ["a", "b", "c"]


def test_the_error_of_changed_code_says_what_was_recorded_what_was_asked_and_what_to_do(make_app: Apps):
    program = versions(make_app, [])
    original, other = program(["a", "b"], True), program(["x", "b"])
    dies(original, flow(original, "run"))
    with pytest.raises(DurableError) as caught:
        live(other, flow(other, "run"))
    text = str(caught.value)
    abandon(other)
    for part in (
        "'run'",
        "position 1",
        "recorded task 'step'",
        "asks for task 'step'",
        "patched",
        "retry run --from 1",
    ):
        assert part in text, part


async def test_waiting_for_a_run_that_is_set_aside_tells_the_reason(make_app: Apps):
    app = make_app()

    @app.workflow(id="stuck")
    async def stuck() -> None:
        await asyncio.Event().wait()

    async with app:
        handle = await stuck.start()
        await state(app, "stuck", "set aside")
        with pytest.raises(RunSetAside, match=r"run 'stuck' is set aside \(deadlock\): .*test_set_aside.py:\d+"):
            await handle.result()


async def test_a_run_over_its_history_limit_is_set_aside_and_goes_on_with_a_higher_one(make_app: Apps):
    """Covers: G13"""
    small, large = make_app(history_max=20), make_app(history_max=1000)
    ran: list[int] = []
    for app in (small, large):

        @app.task
        async def step(x: int) -> int:
            ran.append(x)
            return x

        @app.workflow(id="long")
        async def long() -> int:
            return sum([await step(x) for x in range(50)])

    with pytest.raises(DurableError, match=r"20 journal entries"):
        await flow(small, "long")()
    assert (await small.runs.get("long")).reason == "history limit"
    assert await flow(large, "long")() == sum(range(50))
    assert ran == list(range(50))


async def test_a_value_that_nobody_can_decode_sets_its_run_aside_and_not_its_neighbours(make_app: Apps, db):
    """Covers: I15, L14"""
    from durable.codec.json_codec import JsonCodec

    class Blind(JsonCodec):
        """Cannot decode results of tasks."""

        def decode(self, data, result_type=object, *, label="", aad=b""):
            if "secret" in label:
                raise durable.KeyMissing(label, "key 'k1' is not in the ring")
            return super().decode(data, result_type, label=label, aad=aad)

    seeing, blind = make_app(), make_app(codec=Blind())
    for app in (seeing, blind):

        @app.task
        async def secret() -> str:
            return "secret"

        @app.task(retries=0)
        async def stops(x: bool) -> None:
            if x:
                raise OSError("stop")

        @app.workflow(id="run")
        async def run() -> str:
            value = await secret()
            await stops(app is seeing)  # noqa: B023
            return value

        @app.workflow(id="other")
        async def other() -> int:
            return 1

    app = seeing
    with pytest.raises(OSError, match="stop"):
        await flow(seeing, "run")()
    app = blind
    with pytest.raises(DurableError):
        await flow(blind, "run")()
    assert (await blind.runs.get("run")).reason == "key missing"
    assert await flow(blind, "other")() == 1
