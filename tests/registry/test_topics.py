"""Topics whose payloads have their schemas in a registry."""

import logging
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from reactor import Pipeline, topic
from reactor.connectors.brokers import BrokerSource, Consumer, Delivery
from reactor.contracts import ContractError, event, upcast
from reactor.core import ArgumentError
from reactor.registry import Registered, Registry, RegistryError, SchemaIncompatible, Unreachable, serve
from tests.servers.server import free_port

FORMATS: Any = ["avro", "json", "protobuf"]


@event("Sold")
class SoldOnce(msgspec.Struct):
    id: str
    cents: int


@event("Sold", version=2)
class Sold(msgspec.Struct):
    id: str
    price: float


@upcast(Sold, from_version=1)
def in_euros(old: dict[str, Any]) -> dict[str, Any]:
    return {"id": old["id"], "price": old["cents"] / 100}


@event("Returned")
class Returned(msgspec.Struct):
    id: str


@pytest.mark.asyncio
@pytest.mark.parametrize("format", FORMATS)
async def test_events_go_through_a_topic_as_registered_payloads(format: Any, tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'registry.db'}") as url, Registry(url) as registry:
        await registry.set_level("NONE")
        option = Registered(url, format)
        where = f"sqlite:{tmp_path / 'shop.db'}/sales"
        first = topic(where, SoldOnce, codec=option)
        await first.publish([SoldOnce("a", 250), SoldOnce("b", 100)])
        await topic(where, Sold, codec=option).publish(Sold("c", 7.5))
        assert await registry.subjects() == ["sales-value"]
        assert await registry.versions("sales-value") == [1, 2]
        # Code that knows the newest version only: each is read with its writer's schema.
        found = await topic(where, Sold, codec=option).read().collect()
        assert found == [Sold("a", 2.5), Sold("b", 1.0), Sold("c", 7.5)]
        raw = [record.raw async for record in topic(where, Sold, codec=option).records()]
        assert [data[:5] for data in raw if data] == [b"\0\0\0\0\1", b"\0\0\0\0\1", b"\0\0\0\0\2"]


@pytest.mark.asyncio
async def test_a_pipelines_sink_registers_when_it_opens(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'registry.db'}") as url, Registry(url) as registry:
        shop = f"sqlite:{tmp_path / 'shop.db'}"
        await topic(f"{shop}/in", Sold).publish([Sold("a", 1.0), Sold("b", 2.0)])
        out = topic(f"{shop}/out", Sold, Returned, codec=Registered(url))
        stream = topic(f"{shop}/in", Sold).read().map(lambda sold: Returned(sold.id))
        await Pipeline("returns", stream.to(out.sink())).run()
        assert await registry.subjects() == ["out-Returned", "out-Sold"]
        assert await out.read().collect() == [Returned("a"), Returned("b")]


@pytest.mark.asyncio
async def test_a_contract_that_does_not_go_on_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'registry.db'}") as url:
        where = f"sqlite:{tmp_path / 'shop.db'}/sales"
        await topic(where, SoldOnce, codec=Registered(url)).publish(SoldOnce("a", 1))
        new = topic(where, Sold, codec=Registered(url))
        with pytest.raises(
            SchemaIncompatible, match=r"Sold version 2 isn't BACKWARD compatible with version 1"
        ):
            await new.publish(Sold("b", 1.0))
        sink = new.sink()
        with pytest.raises(SchemaIncompatible):
            await sink.open()
        await sink.close()
        assert await topic(where, SoldOnce, codec=Registered(url)).length() == 1


@pytest.mark.asyncio
async def test_what_is_not_in_the_wire_format_is_a_bad_record(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'registry.db'}") as url:
        where = f"sqlite:{tmp_path / 'shop.db'}/sales"
        await topic(where, Returned).publish(Returned("json"))
        with pytest.raises(ContractError, match=r"position 0: .*isn't in the registry's wire format"):
            await topic(where, Returned, codec=Registered(url)).read().collect()


@pytest.mark.asyncio
async def test_a_registry_that_is_gone_is_a_pause_for_readers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, port = f"sqlite:{tmp_path / 'registry.db'}", free_port()
    where = f"sqlite:{tmp_path / 'shop.db'}/sales"
    async with serve(store, port=port) as url:
        await topic(where, Returned, codec=Registered(url)).publish(Returned("a"))
    reader = topic(where, Returned, codec=Registered(url))
    with pytest.raises(Unreachable), caplog.at_level(logging.CRITICAL):
        await topic(where, Returned, codec=Registered(url)).publish(Returned("b"))
    found: list[Returned] = []

    async def read() -> None:
        found.extend(await reader.read().collect())

    with caplog.at_level(logging.WARNING, "reactor.registry"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            with anyio.fail_after(10):
                while not caplog.records:
                    await anyio.sleep(0.01)
            async with serve(store, port=port):
                with anyio.fail_after(10):
                    while not found:
                        await anyio.sleep(0.01)
    assert found == [Returned("a")]


class Once(Consumer):
    """Delivers these messages, then ends."""

    def __init__(self, data: list[bytes]) -> None:
        self._data = data

    async def open(self) -> None:
        pass

    async def receive(self, limit: int) -> list[Delivery] | None:
        if not self._data:
            return None
        data, self._data = self._data, []
        return [Delivery(str(n), "", None, None, 0, each, n) for n, each in enumerate(data)]

    async def close(self) -> None:
        pass


@pytest.mark.asyncio
async def test_a_brokers_source_fetches_the_schema_and_goes_on(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'registry.db'}") as url, Registry(url) as registry:
        (writer,) = Registered(url).codecs("returns", [Returned]).values()
        await writer.open()
        data = writer.encode([Returned("a"), Returned("b")])
        codec = topic("memory:returns", Returned, codec=Registered(url))._codec
        source: Any = BrokerSource(
            Once(data), codec.decoding(()), name="returns", identity=None, kind="Returned"
        )
        await source.open()
        found: list[Any] = []
        while (batch := await source.read(10)) is not None:
            found += [record.value for record in batch]
        await source.close()
        assert found == [Returned("a"), Returned("b")]
        assert await registry.subjects() == ["returns-value"]


def test_options_are_looked_at_at_once() -> None:
    with pytest.raises(ArgumentError, match="write http://localhost:8081"):
        Registered("localhost")
    with pytest.raises(ArgumentError, match="a registry knows avro, json, protobuf"):
        Registered("http://localhost", "xml")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="name the types of its events"):
        topic("memory:a", codec=Registered("http://localhost"))
    with pytest.raises(ArgumentError, match='pass subjects="topic-record"'):
        topic("memory:a", Sold, Returned, codec=Registered("http://localhost", subjects="topic"))
    assert "secret" not in repr(Registered("http://me:secret@localhost"))
    assert issubclass(SchemaIncompatible, RegistryError)
