"""Topics at a real server: what is published comes back, to each group, from where it was asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec
import nats
import pytest

from reactor import topic
from reactor.connectors.nats import Nats
from reactor.core import ArgumentError, Record, Refused, TopicError, TopicFull
from tests.brokers.waiting import misses_nothing
from tests.servers.nats import PASSWORD, USER, NatsServer

pytestmark = pytest.mark.anyio

Url = Callable[..., str]


class Tick(msgspec.Struct, frozen=True):
    number: int
    note: str = ""


def ticks(count: int, first: int = 0) -> list[Tick]:
    return [Tick(number) for number in range(first, first + count)]


async def read(source: Any, count: int, *, wait: float = 30.0) -> list[Record[Tick]]:
    """Read so many records; fewer where there are no more within ``wait`` seconds, or at the end."""
    found: list[Record[Tick]] = []
    with anyio.move_on_after(wait):
        while len(found) < count:
            records = await source.read(count - len(found))
            if records is None:
                break
            found += records
    return found


def numbers(records: Sequence[Record[Tick]]) -> list[int]:
    return [record.value.number for record in records]


async def client_of(server: NatsServer) -> Any:
    return await nats.connect(f"nats://127.0.0.1:{server.port}", user=USER, password=PASSWORD)


# What is published comes back --------------------------------------------------------------------------------


async def test_events_come_back_with_all_that_belongs_to_them(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    odd = {
        "plain": "as it is",
        "lines": "one\r\ntwo\n",
        "spaces": "  around\t",
        "umlauts": "süß 🚀",
        "percent": "100%25",
        "empty": "",
    }
    await ticks_.publish(Tick(1), key='a key, "with" % and ü\n', headers=odd, time=1_700_000_000_123_456)
    await ticks_.publish(Tick(2))
    first, second = [record async for record in ticks_.records("earliest")]
    assert first.value == Tick(1)
    assert first.key == 'a key, "with" % and ü\n'
    assert first.headers == odd
    assert first.time == 1_700_000_000_123_456
    assert (first.place, second.place) == ("1", "2")
    assert (second.value, second.key, dict(second.headers)) == (Tick(2), None, {})


async def test_many_events_keep_their_order(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(700))
    assert numbers([record async for record in ticks_.records("earliest")]) == list(range(700))
    source = ticks_.source("group", follow=False)
    await source.open()
    assert numbers(await read(source, 10_000)) == list(range(700))
    await source.close()


async def test_an_id_is_stored_once(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    for _ in range(2):
        await ticks_.publish(ticks(5), id=lambda tick: f"tick ü {tick.number}")
    assert numbers([record async for record in ticks_.records("earliest")]) == [0, 1, 2, 3, 4]


async def test_foreign_messages_are_read(nats_server: NatsServer, url: Url, name: str) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(Tick(0))
    client = await client_of(nats_server)
    js = client.jetstream()
    await js.publish(name, b'{"number": 1}')
    await js.publish(name, b'{"number": 2}', headers={"Trace": "50%41"})
    structured = b'{"specversion":"1.0","id":"i","source":"s","type":"Tick","data":{"number":3}}'
    await js.publish(name, structured, headers={"Content-Type": "application/cloudevents+json"})
    await js.publish(
        name,
        b'{"number": 4}',
        headers={"Ce-Specversion": "1.0", "Ce-Type": "Tick", "Ce-Id": "1", "Ce-Source": "x"},
    )
    await client.close()
    source = ticks_.source("group", follow=False)
    await source.open()
    records = await read(source, 10)
    await source.close()
    assert numbers(records) == [0, 1, 2, 3, 4]
    assert records[2].headers == {"Trace": "50%41"}
    assert abs(records[1].time / 1e6 - datetime.now(UTC).timestamp()) < 60


@pytest.mark.parametrize("bad", ["with space", "zeilenumbruch\n", "Nats-Rollup", "reactor-escaped"])
async def test_headers_that_cant_be_are_refused(url: Url, bad: str) -> None:
    sink = topic(url(), Tick).sink(headers=lambda tick: {bad: "x"} if tick.number == 1 else None)
    await sink.open()
    with pytest.raises(Refused) as caught:
        await sink.write(ticks(3))
    await sink.close()
    assert list(caught.value.errors) == [1]


async def test_what_is_too_large_is_named_before_anything_is_sent(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    sink = ticks_.sink()
    await sink.open()
    with pytest.raises(Refused, match="1048576 at most") as caught:
        await sink.write([Tick(0), Tick(1, "x" * 1_100_000), Tick(2)])
    assert list(caught.value.errors) == [1]
    await sink.write([Tick(0, "y" * 1_048_000), Tick(2)])
    await sink.flush()
    await sink.close()
    assert numbers([record async for record in ticks_.records("earliest")]) == [0, 2]


async def test_a_full_stream_says_so(url: Url) -> None:
    ticks_ = topic(url(max_bytes=2000), Tick)
    with pytest.raises(TopicFull, match="maximum bytes exceeded"):
        await ticks_.publish(ticks(50))
    kept = numbers([record async for record in ticks_.records("earliest")])
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < 50


async def test_a_full_stream_may_drop_its_oldest(url: Url) -> None:
    ticks_ = topic(url(max_bytes=2000, discard="old"), Tick)
    await ticks_.publish(ticks(50))
    kept = numbers([record async for record in ticks_.records("earliest")])
    assert kept == list(range(50 - len(kept), 50))
    assert 0 < len(kept) < 50


# Groups, and where they begin --------------------------------------------------------------------------------


async def test_each_group_gets_all_and_goes_on_where_it_was(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(10))
    for group in ("one", "a name, with .*> and ü"):
        source = ticks_.source(group, follow=False)
        await source.open()
        assert numbers(await read(source, 6)) == [0, 1, 2, 3, 4, 5]
        await source.commit(4)
        await source.close()
        again = ticks_.source(group, follow=False)
        await again.open()
        assert numbers(await read(again, 100)) == [4, 5, 6, 7, 8, 9]
        await again.commit(6)
        await again.close()
        rest = ticks_.source(group, follow=False)
        await rest.open()
        assert await rest.read(10) is None
        await rest.close()


async def test_groups_whose_names_look_alike_are_two(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(2))
    for group in ("a.b", "a_b", "a b"):
        source = ticks_.source(group, follow=False)
        await source.open()
        assert numbers(await read(source, 5)) == [0, 1]
        await source.commit(2)
        await source.close()


@pytest.mark.parametrize("group", ["group", None])
async def test_reading_begins_where_it_was_asked_for(url: Url, group: str | None) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(3))
    latest = ticks_.source(group and "latest", start="latest")
    await latest.open()
    await anyio.sleep(0.01)
    now = datetime.now(UTC)
    await anyio.sleep(0.01)
    await ticks_.publish(ticks(3, 3))
    since = ticks_.source(group and "since", start=now)
    await since.open()
    for source in (latest, since):
        assert numbers(await read(source, 3)) == [3, 4, 5]
        await source.close()


async def test_who_waits_at_the_end_without_a_group_misses_nothing(url: Url) -> None:
    await misses_nothing(topic(url(), Tick), *ticks(3))


async def test_without_a_group_it_can_be_done_again_and_gone_back_in(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(10))
    source = ticks_.source(start="earliest", follow=False)
    await source.open()
    assert numbers(await read(source, 6)) == [0, 1, 2, 3, 4, 5]
    bookmark = source.bookmark(2)
    await source.commit(3)
    await source.close()
    await source.open()
    await source.seek(5)
    assert numbers(await read(source, 100)) == [5, 6, 7, 8, 9]
    await source.close()
    other = ticks_.source(start="earliest", follow=False)
    await other.open()
    await other.restore(2, bookmark)
    assert numbers(await read(other, 100)) == [2, 3, 4, 5, 6, 7, 8, 9]
    await other.close()


async def test_one_that_doesnt_follow_ends_at_the_end_as_of_opening(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    for group in ("group", None):
        source = ticks_.source(group, start="earliest", follow=False)
        await source.open()
        assert await source.read(10) is None
        await source.close()
    await ticks_.publish(ticks(5))
    sources = [ticks_.source(group, start="earliest", follow=False) for group in ("group", None)]
    for source in sources:
        await source.open()
    await ticks_.publish(ticks(5, 5))
    for source in sources:
        assert numbers(await read(source, 100)) == [0, 1, 2, 3, 4]
        await source.commit(5)
        await source.close()
    rest = ticks_.source("group", follow=False)
    await rest.open()
    assert numbers(await read(rest, 100)) == [5, 6, 7, 8, 9]
    await rest.close()


async def test_waiting_for_events_may_be_cancelled(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(1))
    for group in ("group", None):
        source = ticks_.source(group, start="earliest")
        await source.open()
        found = await read(source, 1)
        async with anyio.create_task_group() as tasks:

            async def publish() -> None:
                async with ticks_:
                    for number in range(100):
                        await ticks_.publish(Tick(number))

            if group is not None:
                tasks.start_soon(publish)
            with anyio.move_on_after(40):
                while len(found) < 101:
                    with anyio.move_on_after(0.003):
                        found += await source.read(7)
        assert numbers(found) == [0, *range(100)]
        await source.close()


# Streams that are there already ------------------------------------------------------------------------------


async def test_a_stream_with_wildcards_is_used(nats_server: NatsServer, name: str) -> None:
    client = await client_of(nats_server)
    prefix = name.replace(".", "-")
    await client.jetstream().add_stream(name=f"ALL-{prefix}", subjects=[f"{prefix}.>"])
    one, two = (topic(nats_server.url(f"{prefix}.{each}"), Tick) for each in ("one", "two"))
    await one.publish(ticks(3))
    await two.publish(ticks(4, 10))
    await one.publish(Tick(3))
    await two.publish(Tick(14))
    assert (await client.jetstream().stream_info(f"ALL-{prefix}")).state.messages == 9
    await client.close()
    for each, expected in ((one, [0, 1, 2, 3]), (two, [10, 11, 12, 13, 14])):
        assert numbers([record async for record in each.records("earliest")]) == expected
        source = each.source(f"group-{expected[0]}", follow=False)
        await source.open()
        assert numbers(await read(source, 100)) == expected
        await source.close()


async def test_no_stream_is_made_where_none_is_wanted(url: Url) -> None:
    with pytest.raises(TopicError, match="no stream has the subject"):
        await topic(url(create="false"), Tick).publish(Tick(1))
    source = topic(url(create="false"), Tick).source("group")
    with pytest.raises(TopicError, match="no stream has the subject"):
        await source.open()
    await source.close()


async def test_two_topics_dont_share_a_streams_name_by_chance(nats_server: NatsServer, name: str) -> None:
    await topic(nats_server.url(f"{name}.x"), Tick).publish(Tick(1))
    with pytest.raises(TopicError, match="stream="):
        await topic(nats_server.url(f"{name}_x"), Tick).publish(Tick(1))
    other = topic(nats_server.url(f"{name}_x", f"stream=other-{name.replace('.', '-')}"), Tick)
    await other.publish(Tick(2))
    assert numbers([record async for record in other.records("earliest")]) == [2]


async def test_a_stream_that_is_made_again_while_it_is_read_is_an_error(
    nats_server: NatsServer, url: Url, name: str
) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(5))
    source = ticks_.source(start="earliest")
    await source.open()
    assert numbers(await read(source, 5)) == list(range(5))
    bookmark = source.bookmark(5)
    client = await client_of(nats_server)
    await client.jetstream().delete_stream(name.replace(".", "_"))
    await client.close()
    await topic(url(), Tick).publish(ticks(8))
    with anyio.fail_after(40), pytest.raises(TopicError, match="was made again"):
        await source.read(1)
    await source.close()

    client = await client_of(nats_server)
    await client.jetstream().delete_stream(name.replace(".", "_"))
    await client.close()
    await topic(url(), Tick).publish(ticks(3))
    other = ticks_.source(start="earliest")
    await other.open()
    with pytest.raises(TopicError, match="ends with 3, and this reader goes on at 6; delete its checkpoint"):
        await other.restore(5, bookmark)
    await other.close()


async def test_without_a_group_it_goes_back_to_what_came_after_it_was_opened(url: Url) -> None:
    ticks_ = topic(url(), Tick)
    source = ticks_.source(start="earliest")
    await source.open()
    await ticks_.publish(ticks(10))
    assert numbers(await read(source, 10)) == list(range(10))
    bookmark = source.bookmark(5)
    await source.restore(5, bookmark)
    assert numbers(await read(source, 5)) == [5, 6, 7, 8, 9]
    await source.close()


async def test_a_group_that_is_deleted_while_it_is_read_is_an_error(
    nats_server: NatsServer, url: Url, name: str
) -> None:
    ticks_ = topic(url(), Tick)
    await ticks_.publish(ticks(3))
    source = ticks_.source("group")
    await source.open()
    await read(source, 3)
    client = await client_of(nats_server)
    await client.jetstream().delete_consumer(name.replace(".", "_"), "group")
    await client.close()
    with pytest.raises(TopicError, match="group group was deleted"), anyio.fail_after(10):
        await source.read(1)
    await source.close()


# What can't work ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["shop:wr0ng-word", "nobody:wr0ng-word"])
async def test_wrong_credentials_are_told_at_once(nats_server: NatsServer, name: str, user: str) -> None:
    ticks_ = topic(nats_server.url(name, "patience=60", user=user), Tick)
    source = ticks_.source("group")
    with anyio.fail_after(20):
        with pytest.raises(TopicError, match="refuses who signs in") as caught:
            await source.open()
        await source.close()
        with pytest.raises(TopicError, match="refuses who signs in"):
            await ticks_.publish(Tick(1))
    assert "wr0ng-word" not in str(caught.value)
    bare = topic(f"nats://127.0.0.1:{nats_server.port}/{name}?token=wr0ng-word", Tick)
    with pytest.raises(TopicError, match="refuses who signs in") as caught:
        await bare.publish(Tick(1))
    assert "wr0ng-word" not in str(caught.value)


async def test_a_server_that_isnt_there_is_waited_for_as_long_as_patience_allows(name: str) -> None:
    from tests.servers.server import free_port

    source = topic(f"nats://127.0.0.1:{free_port()}/{name}?patience=0.3", Tick).source("group")
    with anyio.fail_after(9), pytest.raises(TopicError, match="gone for"):  # the default patience is 10
        await source.open()
    await source.close()


def test_on_trio_it_says_what_it_needs(url: Url) -> None:
    ticks_ = topic(url(), Tick)

    async def publish() -> None:
        with pytest.raises(TopicError, match="needs asyncio"):
            await ticks_.publish(Tick(1))
        source = ticks_.source("group")
        with pytest.raises(TopicError, match="needs asyncio"):
            await source.open()
        await source.close()

    anyio.run(publish, backend="trio")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("a.*", "wildcards"),
        ("a..b", "without wildcards"),
        ("a%20b", "spaces"),
        ("$JS.API", "server's own"),
        ("a?prefetch=0", "prefetch must be >= 1"),
        ("a?ack_wait=0", "ack_wait must be >= 0.5"),
        ("a?prefetch=0&max_age=-1", "prefetch must be >= 1; max_age must be >= 0"),
        ("a?colour=red", "no option 'colour'"),
        ("a?tls_key=x", "needs tls_cert"),
        ("a?token=x&nkey=y", "one of"),
    ],
)
def test_options_that_cant_be_are_told_at_once(rest: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said.replace("$", r"\$")):
        topic(f"nats://localhost/{rest}")


def test_options_come_from_the_config_too() -> None:
    with pytest.raises(ArgumentError, match="prefetch"):
        topic("nats://localhost/a", config=Nats(prefetch=0))
    with pytest.raises(ArgumentError, match="token=") as caught:
        topic("nats://t0ken@localhost/a")
    assert "t0ken" not in str(caught.value)
    shown = topic("nats://me:s3cret@localhost/a?token=t0ken", config=Nats(prefetch=7))
    assert "s3cret" not in repr(shown)
    assert "t0ken" not in repr(shown)


def test_without_the_client_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['nats'] = None\n"
        "from reactor import topic\n"
        "try:\n    topic('nats://localhost/a')\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert 'pip install "reactor-streams[nats]"' in done.stdout, done.stderr
