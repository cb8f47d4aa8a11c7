"""``POST /orders`` over a real server: 202 once stored, 422 with the fault's path, 503 while behind, drained."""

import asyncio
import json
import signal
import socket
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from pipelines.orders.events import OrderEvent
from pipelines.orders.home import Home
from pipelines.orders.simulated.__main__ import Server
from pipelines.orders.web import Shopfront

GOOD: dict[str, Any] = {
    "id": "2026-0001",
    "customer_id": "17850",
    "country": "United Kingdom",
    "lines": [{"stock_code": "85123A", "quantity": 6, "unit_price": "2.55", "description": "HEART"}],
}
LINE = GOOD["lines"][0]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def stored(home: Home) -> list[OrderEvent]:
    return [record.value async for record in home.orders().records()]


@asynccontextmanager
async def serving(shop: Shopfront) -> AsyncGenerator[httpx.AsyncClient, None]:
    """The app under uvicorn; left, the server stops as a signal would stop it, and answers who still waits."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = Server(uvicorn.Config(shop.app, lifespan="on", log_level="critical"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, verify=False, timeout=20) as client:
        try:
            yield client
        finally:
            server.should_exit = True
            await task


@pytest.mark.asyncio
async def test_202_says_that_the_order_is_stored(home: Home) -> None:
    async with serving(Shopfront(home)) as client:
        answer = await client.post("/orders", json=GOOD)
        (order,) = await stored(home)  # while the server still runs
    assert (answer.status_code, answer.json()) == (202, {"order": "W2026-0001", "status": "stored"})
    assert order.invoice == "W2026-0001"
    assert str(order.lines[0].unit_price) == "2.55"


@pytest.mark.asyncio
async def test_an_order_sent_again_is_stored_once(home: Home) -> None:
    async with serving(Shopfront(home)) as client:
        answers = [await client.post("/orders", json=GOOD) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len(await stored(home)) == 1


@pytest.mark.parametrize(
    ("body", "path", "error"),
    [
        (b"{not json", "$", "isn't JSON"),
        (b"\xff", "$", "isn't JSON"),
        (b"", "$", "isn't JSON"),
        ([], "$", "Expected `object`, got `array`"),
        ({**GOOD, "id": ""}, "$.id", "Expected `str` matching regex"),
        ({**GOOD, "id": "a\nb"}, "$.id", "Expected `str` matching regex"),
        ({key: GOOD[key] for key in ("id", "country")}, "$", "missing required field `lines`"),
        ({**GOOD, "more": 1}, "$", "unknown field `more`"),
        ({**GOOD, "lines": []}, "$.lines", "length >= 1"),
        ({**GOOD, "customer_id": "Bob"}, "$.customer_id", "Expected `str` matching regex"),
        ({**GOOD, "lines": [LINE, {**LINE, "quantity": 0}]}, "$.lines[1].quantity", "Expected `int` >= 1"),
        ({**GOOD, "lines": [{**LINE, "quantity": "6"}]}, "$.lines[0].quantity", "Expected `int`, got `str`"),
        ({**GOOD, "lines": [LINE, {**LINE, "unit_price": "-1"}]}, "$.lines[1].unit_price", "isn't an amount"),
        ({**GOOD, "lines": [{**LINE, "unit_price": "NaN"}]}, "$.lines[0].unit_price", "isn't an amount"),
        ({**GOOD, "lines": [{**LINE, "unit_price": "0.00001"}]}, "$.lines[0].unit_price", "4 decimals"),
        ({**GOOD, "lines": [{**LINE, "unit_price": "two"}]}, "$.lines[0].unit_price", "Invalid decimal"),
    ],
)
@pytest.mark.asyncio
async def test_422_says_what_is_wrong_and_where(home: Home, body: Any, path: str, error: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with serving(Shopfront(home)) as client:
        answer = await client.post("/orders", content=content)
    assert answer.status_code == 422
    assert answer.json()["path"] == path
    assert error in answer.json()["error"]
    assert await stored(home) == []


@pytest.mark.asyncio
async def test_a_request_without_end_is_refused(home: Home) -> None:
    async with serving(Shopfront(home)) as client:
        answer = await client.post("/orders", content=b" " * 1_000_001)
    assert answer.status_code == 413


@pytest.mark.asyncio
async def test_503_at_once_where_too_many_wait_already(home: Home) -> None:
    async with serving(Shopfront(home, capacity=3, patience=20)) as client:
        await client.post("/orders", json=GOOD)
        with closing(sqlite3.connect(home.path / "shop.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody else can write now
            requests = [
                asyncio.create_task(client.post("/orders", json={**GOOD, "id": f"many-{n}"}))
                for n in range(10)
            ]
            while sum(request.done() for request in requests) < 7:
                await asyncio.sleep(0.01)
            other.execute("ROLLBACK")
        answers = await asyncio.gather(*requests)
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [503] * 7
    assert len(await stored(home)) == 4


@pytest.mark.asyncio
async def test_503_while_the_pipeline_is_behind_and_202_afterwards(home: Home) -> None:
    async with serving(Shopfront(home, patience=0.5)) as client:
        await client.post("/orders", json=GOOD)
        with closing(sqlite3.connect(home.path / "shop.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody else can write now
            answers = await asyncio.gather(
                *(client.post("/orders", json={**GOOD, "id": f"behind-{n}"}) for n in range(10))
            )
            other.execute("ROLLBACK")
        assert {answer.status_code for answer in answers} == {503}
        assert all(answer.headers["retry-after"] == "2" for answer in answers)
        assert "behind" in answers[0].json()["error"]
        async with asyncio.timeout(20):
            for n in range(10):
                while (await client.post("/orders", json={**GOOD, "id": f"behind-{n}"})).status_code != 202:
                    await asyncio.sleep(0.01)
    assert len(await stored(home)) == 11


@pytest.mark.asyncio
async def test_503_once_the_pipeline_has_failed(home: Home) -> None:
    async with serving(Shopfront(home)) as client:
        assert (await client.get("/health")).json()["pipeline"] == "running"
        await client.post("/orders", json=GOOD)
        with closing(sqlite3.connect(home.path / "shop.db", isolation_level=None)) as other:
            other.execute("DROP TABLE events")
        answers = [await client.post("/orders", json={**GOOD, "id": f"x{n}"}) for n in range(2)]
        health = await client.get("/health")
    assert [answer.status_code for answer in answers] == [503, 503]
    assert "takes no orders" in answers[1].json()["error"]
    assert health.status_code == 503
    assert health.json()["pipeline"] == "failed"


@pytest.mark.asyncio
async def test_a_server_that_stops_answers_what_it_has_taken(home: Home) -> None:
    async with serving(Shopfront(home)) as client:
        requests = [
            asyncio.create_task(client.post("/orders", json={**GOOD, "id": f"last-{n}"})) for n in range(50)
        ]
        await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    answers = await asyncio.gather(*requests, return_exceptions=True)
    accepted = sum(isinstance(one, httpx.Response) and one.status_code == 202 for one in answers)
    assert 0 < accepted == len(await stored(home))


def test_serve_stops_on_a_signal_with_everything_stored(home: Home, app: Callable[..., Any]) -> None:
    shop = app("serve", "--home", home.path, "--port", "0")
    shop.until_printed("Uvicorn running on ")
    url = shop.err.partition("Uvicorn running on ")[2].split()[0]
    with httpx.Client(base_url=url, verify=False) as client:
        codes = [client.post("/orders", json={**GOOD, "id": f"signal-{n}"}).status_code for n in range(20)]
    shop.process.send_signal(signal.SIGINT)
    shop.wait()
    assert codes == [202] * 20
    assert "Traceback" not in shop.err
    assert len(asyncio.run(stored(home))) == 20
