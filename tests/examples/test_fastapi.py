"""The web application: in this process through its ASGI interface, and as a real server that is killed."""

import asyncio
import re
from collections import Counter

import httpx2
import pytest

from tests.examples.support import Launcher, Program, load

SCRIPT = "fastapi_app.py"
ORDER = {"order_id": "42", "cents": 990}
LOST = 10
"""Orders that are acknowledged right before a kill."""


@pytest.fixture
async def client(monkeypatch, tmp_path):
    example = load(SCRIPT, monkeypatch, tmp_path)
    transport = httpx2.ASGITransport(app=example.app)
    async with (
        example.app.router.lifespan_context(example.app),
        httpx2.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        yield client


async def test_a_request_starts_a_run_and_a_second_one_signals_it(client):
    placed = await client.post("/orders", json=ORDER)
    assert placed.status_code == 202
    assert placed.json()["id"] == "order-42"
    assert (await client.post("/orders/42/approval", json={"by": "ada"})).json() == {"first": True}
    ended = (await client.get("/orders/42", params={"wait": 20})).json()
    assert ended == {
        "id": "order-42", "state": "succeeded", "shipment": {"order_id": "42", "approved_by": "ada"}
    }  # fmt: skip
    assert (await client.post("/orders/42/approval", json={"by": "bob"})).json() == {"first": False}


async def test_the_same_request_again_finds_the_same_run(client, tmp_path):
    first, second = await asyncio.gather(client.post("/orders", json=ORDER), client.post("/orders", json=ORDER))
    assert first.json()["id"] == second.json()["id"] == "order-42"
    await client.post("/orders/42/approval", json={"by": "ada"})
    await client.get("/orders/42", params={"wait": 20})
    assert (tmp_path / "warehouse.txt").read_text() == "reserved 42\nshipped 42\n"


async def test_the_same_order_with_another_price_is_a_conflict(client):
    await client.post("/orders", json=ORDER)
    answer = await client.post("/orders", json={"order_id": "42", "cents": 1})
    assert answer.status_code == 409
    assert "started with other arguments" in answer.json()["detail"]


async def test_an_order_that_does_not_exist_is_not_found(client):
    assert (await client.get("/orders/42")).status_code == 404
    assert (await client.get("/orders/42", params={"wait": 5})).status_code == 404


async def test_waiting_for_an_open_order_answers_with_its_state(client):
    await client.post("/orders", json=ORDER)
    answer = (await client.get("/orders/42", params={"wait": 0.2})).json()
    assert answer["state"] in ("queued", "running", "suspended")
    assert answer["shipment"] is None


def serve(start: Launcher) -> tuple[Program, httpx2.Client]:
    server = start(SCRIPT, "--port", "0")
    [address] = re.findall(r"http://\S+", server.wait_for("Uvicorn running on"))
    return server, httpx2.Client(base_url=address, timeout=30, trust_env=False)


def test_a_server_killed_with_acknowledged_orders_loses_none(start):
    server, client = serve(start)
    with client:
        for number in range(LOST):
            placed = client.post("/orders", json={"order_id": f"lost-{number}", "cents": 1})
            assert placed.status_code == 202
    server.kill()
    server, client = serve(start)
    with client:
        for number in range(LOST):
            client.post(f"/orders/lost-{number}/approval", json={"by": "ada"})
        for number in range(LOST):
            ended = client.get(f"/orders/lost-{number}", params={"wait": 20}).json()
            assert ended["shipment"] == {"order_id": f"lost-{number}", "approved_by": "ada"}
    assert {line for line in start.lines_of("warehouse.txt") if line.startswith("shipped")} == {
        f"shipped lost-{number}" for number in range(LOST)
    }


def test_an_order_that_waits_when_the_server_is_killed_reserves_nothing_again(start):
    server, client = serve(start)
    with client:
        client.post("/orders", json=ORDER)
        # Written only when everything before it is on disk.
        server.wait_for("order 42 waits for its approval")
    server.kill()
    server, client = serve(start)
    with client:
        assert client.post("/orders/42/approval", json={"by": "ada"}).json() == {"first": True}
        assert client.get("/orders/42", params={"wait": 20}).json()["state"] == "succeeded"
    server.process.terminate()
    server.end()
    assert Counter(start.lines_of("warehouse.txt")) == {"reserved 42": 1, "shipped 42": 1}
