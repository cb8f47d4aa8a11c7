"""Something hangs for ever: the deadline of a drain holds all the same, and the next run is right."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor import DrainTimeout, Sink
from reactor.connectors.sink import LogSink
from reactor.connectors.source import LogSource
from reactor.connectors.states import SqliteStates
from tests.faults.shop import COUNT, FIRST, Shop, Sum

pytestmark = pytest.mark.anyio

SOON = 10.0


class Hanging:
    """The third call hangs."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self._calls = 0

    async def __call__(self) -> None:
        self._calls += 1
        if self._calls >= 3:
            self.reached.set()
            await anyio.sleep_forever()


class Between(Sink[Sum]):
    """Passes on what it is told, and hangs in one of the calls."""

    transactional = True

    def __init__(self, sink: Sink[Sum], call: str) -> None:
        self.name = sink.name
        self.hanging = Hanging()
        self._sink = sink
        self._call = call

    async def _told(self, call: str) -> None:
        if call == self._call:
            await self.hanging()

    async def open(self) -> None:
        await self._sink.open()

    async def write(self, events: Sequence[Sum]) -> None:
        await self._told("write")
        await self._sink.write(events)

    async def flush(self) -> None:
        await self._told("flush")
        await self._sink.flush()

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        await self._sink.recover(owner, decided, fence)

    async def prepare(self, number: int) -> None:
        await self._told("prepare")
        await self._sink.prepare(number)

    async def publish(self, number: int) -> None:
        await self._told("publish")
        await self._sink.publish(number)

    async def close(self) -> None:
        await self._sink.close()


async def times_out(shop: Shop, hanging: Hanging, sink: Sink[Sum] | None = None) -> DrainTimeout:
    run = shop.pipeline(sink=sink, follow=True).start(drain=0.05)
    with (
        anyio.fail_after(SOON),
        pytest.raises(DrainTimeout, match=r"draining took more than 0\.05 s") as caught,
    ):
        async with run:
            for first in range(FIRST, COUNT, 20):
                await shop.publish(first, first + 20)
                # With each piece comes a checkpoint.
                while not hanging.reached.is_set() and await shop.orders.position("shop") != first + 20:
                    await anyio.sleep(0.001)
            assert hanging.reached.is_set()
    assert run.state == "cancelled"
    assert run.error is caught.value
    return caught.value


@pytest.mark.parametrize(
    ("call", "out"), [("write", "topic"), ("flush", "table"), ("prepare", "topic"), ("publish", "table")]
)
async def test_a_sink_that_hangs(tmp_path: Path, call: str, out: Any) -> None:
    shop = Shop(tmp_path, out)
    await shop.begun(0)
    sink = Between(shop.sink(), call)
    error = await times_out(shop, sink.hanging, sink)
    # A flush may have come when nothing was in flight.
    assert (1 if call == "write" else 0) <= error.in_flight <= COUNT - FIRST
    await shop.pipeline().run()
    await shop.check()


async def hangs_in(shop: Shop, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, wanted: Any) -> None:
    hanging = Hanging()
    does: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def hang(self: Any, *args: Any) -> Any:
        if wanted(self):
            await hanging()
        return await does(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, hang)
        await times_out(shop, hanging)
    await shop.pipeline().run()
    await shop.check()


async def test_dead_letters_that_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path, "topic")
    await shop.begun(0)
    await hangs_in(shop, monkeypatch, LogSink, "write", lambda sink: sink.name == "dead")


async def test_a_state_file_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path, "table")
    await shop.begun(0)
    await hangs_in(shop, monkeypatch, SqliteStates, "save", lambda store: True)


async def test_a_source_whose_commit_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path, "table")
    await shop.begun(0)
    await hangs_in(shop, monkeypatch, LogSource, "commit", lambda source: True)
