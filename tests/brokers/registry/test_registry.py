"""Against a real registry: Apicurio, by its Confluent API."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from reactor.registry import (
    RegisteredCodec,
    Registry,
    RegistryError,
    SchemaIncompatible,
    SchemaMissing,
    SchemaText,
    schema_of,
)
from tests.contracts.rich import Rich
from tests.contracts.shops import EVENTS, First, Line, OrderSettled, Second
from tests.registry import confluent
from tests.servers.registry import Apicurio
from tests.servers.server import Missing, require

FORMATS: Any = ["avro", "json", "protobuf"]
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        server = Apicurio()
    except Missing as missing:
        require(missing)
    try:
        server.start()
        yield server.url
    finally:
        server.close()


@pytest.fixture
def subject() -> str:
    return f"{uuid.uuid4()}-value"


@pytest.mark.parametrize("format", FORMATS)
async def test_what_is_registered_is_read(format: Any, url: str, subject: str) -> None:
    async with Registry(url) as registry:
        id = await registry.register(subject, schema_of(Rich, format))
        assert await registry.register(subject, schema_of(Rich, format)) == id
    async with Registry(url) as registry:
        found = await registry.schema(id)
        assert found.format == format.upper()
        assert (await registry.look_up(subject, schema_of(Rich, format))).id == id
        newest = await registry.version(subject)
        assert (newest.subject, newest.version, newest.id) == (subject, 1, id)
        assert await registry.versions(subject) == [1]
        assert subject in await registry.subjects()


@pytest.mark.parametrize("format", FORMATS)
async def test_versions_come_through_their_upcasters(format: Any, url: str, subject: str) -> None:
    async with Registry(url) as registry:
        assert await registry.level() == "NONE"  # Apicurio's default
        reader = RegisteredCodec(OrderSettled, registry, subject, format)
        written: list[tuple[type[Any], Any]] = [
            (First, First("a", 9.5)),
            (Second, Second("b", [Line("x", 2.0)])),
            (OrderSettled, EVENTS[2]),
        ]
        for version, (kind, one) in enumerate(written, 1):
            writer = RegisteredCodec(kind, registry, subject, format)
            await writer.open()
            told = version if format == "protobuf" else None
            assert await reader.read(writer.encode([one]), told) == [EVENTS[version - 1]]


@pytest.mark.parametrize("format", FORMATS)
async def test_confluents_client_reads_what_we_write_and_the_reverse(format: Any, url: str) -> None:
    topic = str(uuid.uuid4())
    event = OrderSettled("c", [Line("x", 1.5)], "CHF")
    given: Any = {"id": "c", "lines": [{"sku": "x", "price": 1.5}], "currency": "CHF"}
    async with Registry(url) as registry:
        codec = RegisteredCodec(OrderSettled, registry, f"{topic}-value", format)
        await codec.open()
        (ours,) = codec.encode([event])
        if format == "protobuf":
            # Apicurio hasn't the serialized form that their deserializer asks for; so it only writes here.
            given = confluent.message_class(OrderSettled).FromString(ours[6:])
        else:
            back = await asyncio.to_thread(confluent.read, url, topic, OrderSettled, format, ours)
            assert back == given
        other = str(uuid.uuid4())
        theirs = await asyncio.to_thread(confluent.write, url, other, OrderSettled, format, given)
        assert await RegisteredCodec(OrderSettled, registry, f"{other}-value", format).read([theirs]) == [
            event
        ]


async def test_incompatible_versions_are_refused_and_told(url: str, subject: str) -> None:
    async with Registry(url) as registry:
        await registry.register(subject, schema_of(First, "avro"))
        await registry.set_level("BACKWARD", subject)
        assert await registry.level(subject) == "BACKWARD"
        assert await registry.check(subject, schema_of(OrderSettled, "avro"))
        with pytest.raises(SchemaIncompatible) as caught:
            await registry.register(subject, schema_of(OrderSettled, "avro"))
        said = str(caught.value)
        assert "OrderSettled version 3 isn't BACKWARD compatible with version 1 of the subject" in said
        assert "$.currency: the new version can't read what version 1 writes" in said


async def test_what_is_missing_or_wrong_is_told(url: str, subject: str) -> None:
    async with Registry(url) as registry:
        with pytest.raises(SchemaMissing) as caught:
            await registry.versions(subject)
        assert caught.value.code == 40401
        with pytest.raises(SchemaMissing) as caught:
            await registry.schema(999_999)
        assert caught.value.code == 40403
        with pytest.raises(RegistryError) as refused:
            await registry.register(subject, SchemaText("AVRO", '{"type":"nothing"}'))
        assert refused.value.code == 42201
