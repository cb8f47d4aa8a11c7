"""What the server has refused, or knows already: nothing of it is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import nats
import pytest

from reactor import DeadLetters, Pipeline, Retry, StoredLetter, Stream, topic
from reactor.core import TopicFull
from tests.servers.nats import PASSWORD, USER, NatsServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Url = Callable[..., str]


class Tick(msgspec.Struct, frozen=True):
    number: int


def ticks(count: int, first: int = 0) -> list[Tick]:
    return [Tick(number) for number in range(first, first + count)]


async def kept(ticks_: Any) -> list[int]:
    return [record.value.number async for record in ticks_.records("earliest")]


async def client_of(server: NatsServer) -> Any:
    return await nats.connect(f"nats://127.0.0.1:{server.port}", user=USER, password=PASSWORD)


async def test_what_a_full_stream_refused_is_sent_again_until_it_is_stored(
    nats_server: NatsServer, url: Url, name: str
) -> None:
    ticks_ = topic(url(max_bytes=2000), Tick)
    sink = ticks_.sink()
    await sink.open()
    await sink.write(ticks(40))
    for _ in range(2):
        with pytest.raises(TopicFull, match="maximum bytes exceeded"):
            await sink.flush()
    with pytest.raises(TopicFull, match="maximum bytes exceeded"):
        await sink.write(ticks(1, 40))
    assert 0 < len(await kept(ticks_)) < 40

    client = await client_of(nats_server)
    stream = name.replace(".", "_")
    info = await client.jetstream().stream_info(stream)
    info.config.max_bytes = 100_000
    await client.jetstream().update_stream(info.config)
    await client.close()
    await sink.write(ticks(1, 40))
    await sink.flush()
    await sink.close()
    assert await kept(ticks_) == list(range(41))


@pytest.mark.parametrize("give_up", [{}, {"on_error": DeadLetters()}])
async def test_a_run_whose_events_were_refused_fails(url: Url, give_up: dict[str, Any], name: str) -> None:
    ticks_ = topic(url(max_bytes=2000), Tick)
    dead = topic(url().replace(name, f"{name}-dead"), StoredLetter)
    written = Stream(ticks(40)).to(ticks_, retry=Retry(3, initial=0.01), **give_up)
    with pytest.raises(TopicFull, match="maximum bytes exceeded"):
        await Pipeline("writes", written, dead_letters=dead).run()


async def test_topics_of_one_stream_may_have_the_same_ids(nats_server: NatsServer, name: str) -> None:
    prefix = name.replace(".", "-")
    client = await client_of(nats_server)
    await client.jetstream().add_stream(name=f"ALL-{prefix}", subjects=[f"{prefix}.>"])
    await client.close()
    topics = [topic(nats_server.url(f"{prefix}.{each}"), Tick) for each in ("orders", "invoices")]
    for _ in range(2):
        for each in topics:
            await each.publish(ticks(3), id=lambda tick: str(tick.number))
    assert [await kept(each) for each in topics] == [[0, 1, 2], [0, 1, 2]]
