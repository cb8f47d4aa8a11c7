"""A broker's source that is opened again and again before it can be told where to go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec
import pytest

from reactor import Restart
from reactor.connectors.brokers import BrokerSource, Consumer, Delivery
from reactor.connectors.codec import JsonCodec
from reactor.engine.restarting import RestartingSource, Restarts

pytestmark = pytest.mark.anyio


class Number(msgspec.Struct, frozen=True):
    number: int


class Log(Consumer):
    """Numbers in one partition, or in a queue; opening fails as often as it is told."""

    def __init__(self, count: int, *, positional: bool) -> None:
        self.positional = positional
        self.partitioned = positional
        self.fails = 0
        self.opened = 0
        self.sought: list[dict[str, int]] = []
        self._at = self._settled = 0
        self._count = count

    async def open(self) -> None:
        self.opened += 1
        if self.fails:
            self.fails -= 1
            raise ConnectionError("refused")
        self._at = 0 if self.positional else self._settled

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        if self._at >= self._count:
            return None
        first, self._at = self._at, min(self._count, self._at + limit)
        return [
            Delivery(f"{n}", "Number", None, None, 0, b'{"number":%d}' % n, ("0", n + 1))
            for n in range(first, self._at)
        ]

    async def settle(self, tokens: Sequence[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        self._settled = max(after for _, after in tokens)

    async def seek(self, positions: Mapping[str, int]) -> None:
        self.sought.append(dict(positions))
        self._at = positions.get("0", 0)

    def begun(self) -> Mapping[str, int]:
        return {"1": 100 * self.opened} if self.positional else {}

    async def close(self) -> None:
        pass


def of(log: Log) -> BrokerSource[Any]:
    return BrokerSource(log, JsonCodec("t", (Number,)).decoding(()), name="t", identity=None)


async def numbers(source: Any, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        found += [record.value.number for record in await source.read(count - len(found))]
    return found


def kept(source: Any, position: int) -> Any:
    return json.loads(source.bookmark(position) or "null")


@pytest.mark.parametrize("fails", [0, 1, 3])
@pytest.mark.parametrize("positional", [True, False], ids=["log", "queue"])
async def test_openings_that_fail_lose_no_position(positional: bool, fails: int) -> None:
    log = Log(10, positional=positional)
    source = of(log)
    await source.open()
    assert await numbers(source, 5) == [0, 1, 2, 3, 4]
    await source.commit(2)
    before = [kept(source, position) for position in (2, 3, 5)]
    await source.close()
    log.fails = fails
    for _ in range(fails):
        with pytest.raises(ConnectionError):
            await source.open()
        await source.close()
    await source.open()
    # A checkpoint that is taken meanwhile has the same of it, also where partitions began.
    assert [kept(source, position) for position in (2, 3, 5)] == before
    await source.seek(4)
    assert source.position() == 4
    assert kept(source, 4)[-1:] == ["3"] if not positional else kept(source, 4)["0"] == 4
    if positional:
        assert log.sought == [{"0": 4}]
        assert await numbers(source, 3) == [4, 5, 6]
    else:  # what is in flight comes again, and is passed over
        assert await source.read(2) == []
        assert await numbers(source, 3) == [4, 5, 6]
    await source.close()


@pytest.mark.parametrize("positional", [True, False], ids=["log", "queue"])
async def test_a_restart_survives_openings_that_fail(positional: bool) -> None:
    log = Log(10, positional=positional)
    source = RestartingSource(of(log), Restarts(Restart(initial=0.001, max=5), "t"))
    await source.open()
    assert await numbers(source, 5) == [0, 1, 2, 3, 4]
    log.fails = 2
    real = log.receive

    async def fails(limit: int) -> Sequence[Delivery] | None:
        log.receive = real  # type: ignore[method-assign]
        raise ConnectionError("gone")

    log.receive = fails  # type: ignore[method-assign]
    assert await numbers(source, 5) == [5, 6, 7, 8, 9]
    assert source.position() == 10
    await source.close()


async def test_a_source_that_is_not_up_yet_keeps_the_bookmark_it_was_given() -> None:
    log = Log(10, positional=True)
    log.fails = 1
    source = RestartingSource(of(log), Restarts(Restart(initial=0.001, max=5), "t"))
    await source.open()
    await source.restore(7, '{"0":7,"2":3}')
    assert kept(source, 7) == {"0": 7, "2": 3}
    assert await numbers(source, 1) == [7]
    assert {"0": 8, "2": 3}.items() <= kept(source, 8).items()
    await source.close()
