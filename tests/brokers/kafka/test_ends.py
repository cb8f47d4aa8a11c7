"""Reading to the end in a group: who has to begin anew, or to wait for its partitions, hasn't come to the end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from reactor import topic
from reactor.connectors.kafka import Kafka as Options
from reactor.connectors.kafka import reader
from reactor.connectors.kafka.lots import nothing
from reactor.connectors.kafka.shelf import Shelf
from reactor.core import Source
from reactor.topics import Topic
from tests.brokers.kafka.test_topics import Tick, made, numbers, opened, take, ticks
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


async def filled(kafka: Kafka, partitions: int, count: int, **options: Any) -> Topic[Tick]:
    ticks_ = topic(kafka.url(await made(kafka, partitions)), Tick, config=Options(**options))
    await ticks_.publish(ticks(*range(count)), key=lambda tick: str(tick.number))
    return ticks_


async def rest(source: Source[Any]) -> set[int]:
    """Return what comes until the end."""
    found: set[int] = set()
    with anyio.fail_after(40):
        while (records := await source.read(100)) is not None:
            found.update(numbers(records))
    return found


async def has(what: str, caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(40):
        while what not in caplog.text:
            await anyio.sleep(0.02)


@pytest.mark.parametrize("prefetch", [10, 10_000], ids=["reading", "read-ahead"])
async def test_a_member_without_which_the_group_went_on_reads_to_the_end(
    kafka: Kafka, prefetch: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_ALONE", 0.0)
    ticks_ = await filled(kafka, 1, 300, prefetch=prefetch, session_timeout=1.0, revoke_patience=0.0)
    async with opened(ticks_.source(kafka.unused(), follow=False)) as source:
        seen = {*numbers(await take(source, 5))}
        await anyio.sleep(1.2 if prefetch == 10 else 0.2)  # who has no room is paused by then
        kafka.pause()
        try:
            await has("the group has gone on without this member", caplog)
            with anyio.move_on_after(0.3):
                seen |= {*numbers(await source.read(1000))}  # None where it ends
        finally:
            kafka.go_on()
        assert seen | await rest(source) == {*range(300)}


def test_what_was_dropped_takes_the_end_back() -> None:
    shelf = Shelf(10)
    shelf.finish()
    assert shelf.take(1, print) is None
    shelf.drop({"0"})
    assert shelf.take(1, print) == nothing()
    shelf.finish()
    shelf.resume()
    assert shelf.take(1, print) == nothing()


async def test_a_member_waits_for_who_may_hold_its_partitions(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_ALONE", 0.0)
    ticks_ = await filled(kafka, 2, 100, revoke_patience=30.0)
    group = kafka.unused()
    async with opened(ticks_.source(group)) as other:
        await take(other, 1)
        await other.commit(1)
        async with opened(ticks_.source(group, follow=False)) as source:
            assert await rest(source)
