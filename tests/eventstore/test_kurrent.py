"""The store in KurrentDB, against the other end of its protocol in memory, which is no KurrentDB.

Where REACTOR_KURRENTDB names a server, the conformance suite runs against that. It has to be empty for each test:
REACTOR_KURRENTDB_RESET is the command that makes it so (a server with --mem-db is empty when it is started again).
"""

import json
import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.to_thread
import pytest
from kurrentdbclient import RecordedEvent, StreamState, exceptions

from reactor.core import ArgumentError, TopicCorrupt, TopicError
from reactor.eventstore import (
    ALL,
    Category,
    EventStore,
    EventStoreError,
    NewEvent,
    StoreUnreachable,
    event_store,
    kurrent,
    kurrent_bell,
    kurrent_words,
)
from reactor.testing.stores import Added, StoreSuite
from tests.eventstore.kurrent_protocol import Protocol
from tests.servers.server import free_port

pytestmark = pytest.mark.anyio

_SERVER = os.environ.get("REACTOR_KURRENTDB")


@pytest.fixture
def protocol() -> Iterator[Protocol]:
    protocol = Protocol()
    yield protocol
    protocol.close()


@pytest.fixture
def url(protocol: Protocol) -> str:
    return protocol.url


class TestKurrent(StoreSuite):
    counted = False

    @pytest.fixture(autouse=True)
    def _place(self, request: pytest.FixtureRequest) -> None:
        if _SERVER is None:
            self.url = request.getfixturevalue("protocol").url
        else:
            reset = os.environ.get("REACTOR_KURRENTDB_RESET")
            assert reset, "REACTOR_KURRENTDB_RESET: the command that empties the server"
            subprocess.run(reset, shell=True, check=True)
            self.url = _SERVER

    def make(self, *types: type[Any]) -> EventStore[Any]:
        return event_store(self.url, *types)


# Where it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "targets"),
    [
        ("kurrentdb://127.0.0.1:1?tls=false", "127.0.0.1:1"),
        ("esdb://admin:changeit@a,b:3", "a:2113,b:3"),
        ("kurrentdb+discover://admin:changeit@cluster.local", "cluster.local:2113"),
        ("kdb://localhost?Tls=false&ConnectionName=x", "localhost:2113"),
    ],
)
async def test_urls(url: str, targets: str) -> None:
    place = kurrent_words.Place(url)
    assert place.targets == targets
    assert place.identity == f"kurrentdb://{targets}"
    assert "changeit" not in f"{place.shown} {place!r} {event_store(url)!r}"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kurrentdb:", "No targets specified"),
        ("kurrentdb://localhost", "Username and password are required"),
        ("kurrentdb://admin:s3cret@", "isn't well formed"),
        ("kurrentdb://admin@localhost", "Username and password are required"),
        ("kurrentdb+nowhere://admin:s3cret@a", "isn't well formed"),
        ("kurrentdb://admin:s3cret@a?nonsense=1", "Unknown field in connection query string: NONSENSE"),
        ("kurrentdb+discover://admin:s3cret@a,b", "isn't well formed"),
        ("kurrentdb://admin:s3cret@[a?tls=false", "isn't well formed"),
    ],
)
async def test_what_is_no_url(url: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        event_store(url)
    assert "write kurrentdb://USER:PASSWORD@HOST:2113" in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


async def test_without_a_server_it_says_so() -> None:
    port = await anyio.to_thread.run_sync(free_port)
    store = event_store(f"kurrentdb://admin:s3cret@127.0.0.1:{port}?tls=false")
    with pytest.raises(StoreUnreachable, match=f"no answer from KurrentDB at 127.0.0.1:{port}") as caught:
        await store.append("order-1", ["a"])
    assert "start the server, or correct host and port" in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)) + repr(store)


@pytest.mark.blocking
async def test_without_its_client_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['kurrentdbclient'] = None\n"
        "from reactor.core import MissingExtra\nfrom reactor.eventstore import event_store\n"
        "try:\n    event_store('kurrentdb://localhost?tls=false')\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith('needs an extra: pip install "reactor-streams[kurrentdb]"')


async def test_the_server_goes_and_comes_back_under_a_subscription(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kurrent, "PATIENCE", 0.2)
    store = event_store(protocol.url)
    await store.append("order-1", ["a"])
    source = store.source(ALL, poll=600)
    await source.open()
    seen: list[Any] = []

    async def follow() -> None:
        while len(seen) < 3:
            seen.extend(record.value.value for record in await source.read(10) or ())

    try:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                await store.append("order-1", ["b"])
                await anyio.to_thread.run_sync(protocol.close)
                with pytest.raises(StoreUnreachable):
                    await event_store(protocol.url).append("order-1", ["lost"])
                monkeypatch.setattr(kurrent, "PATIENCE", 15)
                again = await anyio.to_thread.run_sync(Protocol, protocol.streams, protocol.port)
                try:
                    await event_store(protocol.url).append("order-1", ["c"])
                    while len(seen) < 3:
                        await anyio.sleep(0.01)
                finally:
                    with anyio.CancelScope(shield=True):
                        await source.close()
                        await anyio.to_thread.run_sync(again.close)
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()
    assert seen == ["a", "b", "c"]


async def test_the_slow_poll_makes_up_for_a_bell_that_does_not_ring(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kurrent_bell.Bell, "_listen", lambda self: None)
    store = event_store(url)
    async with store:
        source = store.source("order-1", poll=0.05)
        await source.open()
        try:
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(store.append, "order-1", ["a"])
                    records = await source.read(10)
        finally:
            with anyio.CancelScope(shield=True):
                await source.close()
    assert records is not None
    assert [record.value.value for record in records] == ["a"]


# Words --------------------------------------------------------------------------------------------------------


def recorded(**changes: Any) -> RecordedEvent:
    event: dict[str, Any] = {
        "type": "Added",
        "data": b'{"item":"a"}',
        "metadata": b"",
        "content_type": "application/json",
        "id": uuid.UUID(int=7),
        "stream_name": "order-1",
        "stream_position": 3,
        "commit_position": 1234,
        "prepare_position": 1234,
        "recorded_at": datetime(2030, 1, 1, tzinfo=UTC),
    }
    return RecordedEvent(**{**event, **changes})


async def test_an_event_goes_there_and_back() -> None:
    for id in ("id-1", str(uuid.uuid4()), "ABCDEF00-0000-0000-0000-000000000000"):
        entry = (id, "Added", "key", {"by": "eva"}, 5, b'{"item":"a"}')
        new = kurrent_words.new_event("order-1", entry)
        assert (new.type, new.data, new.content_type) == ("Added", entry[5], "application/json")
        assert json.loads(new.metadata)["by"] == "eva"  # as other programs would write it
        there = recorded(id=new.id, metadata=new.metadata)
        found = kurrent_words.found_event(there)
        assert found == ("order-1", 3, 1234, id, "Added", "key", {"by": "eva"}, 5, b'{"item":"a"}')
    one, other = (kurrent_words.uuid_of(stream, "id-1") for stream in ("a", "b"))
    assert one != other == kurrent_words.uuid_of("b", "id-1")


@pytest.mark.parametrize(
    ("metadata", "headers"),
    [
        (b"", None),
        (b"{}", None),
        (
            b'{"by": "eva", "size": 3, "$correlationId": "x"}',
            {"by": "eva", "size": "3", "$correlationId": "x"},
        ),
        (b"[1]", {"metadata": "[1]"}),
        (b"\xff\x00", {"metadata": "\ufffd\x00"}),
        (b'{"reactor": 1}', None),
        (b'{"reactor": {"time": "x", "key": 1, "id": 2}}', None),
    ],
)
async def test_an_event_of_another_program(metadata: bytes, headers: dict[str, str] | None) -> None:
    found = kurrent_words.found_event(recorded(metadata=metadata))
    assert (found.id, found.key, found.headers) == (str(uuid.UUID(int=7)), None, headers)
    assert found.time == int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert kurrent_words.found_event(recorded(recorded_at=None)).time == 0


async def test_versions_and_ids() -> None:
    assert kurrent_words.current(-1) is StreamState.NO_STREAM
    assert kurrent_words.current(0) == 0
    events = [kurrent_words.found_event(recorded(id=uuid.UUID(int=n), stream_position=n)) for n in range(4)]
    wanted = [str(uuid.UUID(int=2)), "unknown", str(uuid.UUID(int=0))]
    assert kurrent_words.known_ids(events, wanted) == {wanted[0]: 2, wanted[2]: 0}


async def test_filters() -> None:
    assert kurrent_words.filters(Category("a.b"))["filter_include"] == (r"(a\.b|a\.b-.*)",)
    assert kurrent_words.filters(ALL)["filter_exclude"] == (r"\$.*", r"reactor\..*")
    for name in ("$ce-order", "reactor.group-all/x"):
        with pytest.raises(ArgumentError, match="begin with"):
            kurrent_words.checked(name)


async def test_metadata_of_the_server_is_left_alone(url: str) -> None:
    there = {"$maxCount": 3, "owner": "eva", "old": 1}
    assert kurrent_words.merged(there, b'{"owner": "ann"}') == {"$maxCount": 3, "owner": "ann"}
    assert kurrent_words.own_metadata({"$maxCount": 3}) is None
    assert json.loads(kurrent_words.own_metadata(there) or b"") == {"owner": "eva", "old": 1}


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (exceptions.ServiceUnavailableError("refused"), StoreUnreachable, "refused; start the server"),
        (exceptions.GrpcDeadlineExceededError(), StoreUnreachable, "no answer from KurrentDB at a:2113"),
        (exceptions.DiscoveryFailedError("x"), StoreUnreachable, "no answer"),
        (exceptions.NodeIsNotLeaderError("x"), StoreUnreachable, "no answer"),
        (
            exceptions.SSLError("SSL_ERROR"),
            TopicError,
            r"TLS failed: SSL_ERROR; \?tlsCaFile=PATH, or \?tls=false",
        ),
        (exceptions.UnauthenticatedError("no s3cret"), TopicError, r"no \*\*\*; correct user and password"),
        (exceptions.AccessDeniedError(), TopicError, "AccessDeniedError; correct user and password"),
        (exceptions.StreamIsDeletedError("x"), EventStoreError, "its name can't be used again"),
        (exceptions.MaximumAppendSizeExceededError("x"), ArgumentError, "append less at once"),
        (exceptions.UnknownError("y"), TopicError, r"y \(UnknownError\)"),
    ],
)
async def test_errors(error: Exception, kind: type[Exception], words: str) -> None:
    meaning = kurrent_words.explain(error, kurrent_words.Place("kurrentdb://admin:s3cret@a"))
    assert type(meaning) is kind
    with pytest.raises(kind, match=words):
        raise meaning


async def test_what_is_no_error_of_the_client_stays_as_it_is() -> None:
    error = RuntimeError("x")
    assert kurrent_words.explain(error, kurrent_words.Place("kurrentdb://a?tls=false")) is error


@pytest.mark.parametrize(
    "said", ["Cannot invoke RPC: Channel closed!", "Cannot invoke RPC on closed channel!"]
)
def test_a_channel_that_the_client_closes_meanwhile_is_a_server_out_of_reach(said: str) -> None:
    place = kurrent_words.Place("kurrentdb://a?tls=false")
    assert isinstance(kurrent_words.explain(ValueError(said), place), StoreUnreachable)


# What differs -------------------------------------------------------------------------------------------------


async def test_a_position_that_no_event_has_is_refused(url: str) -> None:
    store = event_store(url)
    await store.append("order-1", ["a", "b", "c"])
    first = (await store.read_all(limit=1).collect())[0].position
    for direction in ("forwards", "backwards"):
        with pytest.raises(ArgumentError, match=f"position {first + 3}: no event has it"):
            await store.read_all(first + 3, direction).collect()
    assert [event.value for event in await store.read_all(first).collect()] == ["a", "b", "c"]


async def test_what_reactor_keeps_is_not_among_the_events(url: str) -> None:
    store = event_store(url)
    await store.append("order-1", ["a"])
    await store.save_snapshot("order-1", {"x": 1}, 0, name="x")
    await store.subscribe(ALL, group="mail", follow=False).collect()
    assert await store.streams() == ["order-1"]
    assert len(await store.read_all().collect()) == 1
    with pytest.raises(ArgumentError, match="names that begin with"):
        await store.append("reactor.mine", ["a"])
    with pytest.raises(ArgumentError, match="'reactor' is taken"):
        await store.append("order-1", [NewEvent("a", metadata={"reactor": "x"})])


async def test_a_group_that_is_ahead_of_the_log_is_told(protocol: Protocol) -> None:
    store = event_store(protocol.url)
    await store.append("order-1", ["a", "b"])
    source = store.source(ALL, group="mail", follow=False)
    await source.open()
    try:
        await source.read(10)
        await source.commit(source.position() or 0)
    finally:
        await source.close()
    protocol.streams.log[:] = [e for e in protocol.streams.log if e.stream != "order-1" or e.version == 0]
    with pytest.raises(TopicCorrupt, match="group mail has read up to"):
        await store.subscribe(ALL, group="mail", follow=False).collect()


async def test_large_events_come_in_small_pages(url: str) -> None:
    store = event_store(url, Added)
    async with store:
        for number in range(5):
            await store.append("order-1", [Added(str(number) * 1_500_000)])
        for target in (ALL, "order-1", Category("order")):
            page = await store._backend.page(target, 0, 100)
            assert len(page.found) == 3
    items = [event.value.item[0] for event in await store.read_all().collect()]
    assert items == list("01234")
