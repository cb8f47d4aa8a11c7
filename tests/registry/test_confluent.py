"""Confluent's own client can't tell the embedded registry from a real one; we read what it writes, and it ours."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from reactor.registry import RegisteredCodec, Registry, schema_of, serve
from tests.contracts.shops import First, Line, OrderSettled, Second
from tests.registry import confluent

pytestmark = pytest.mark.asyncio

EVENT = OrderSettled("c", [Line("x", 1.5)], "CHF")
PLAIN = {"id": "c", "lines": [{"sku": "x", "price": 1.5}], "currency": "CHF"}


def _given(format: str) -> Any:
    if format != "protobuf":
        return PLAIN
    message = confluent.message_class(OrderSettled)(id="c", currency="CHF")
    message.lines.add(sku="x", price=1.5)
    return message


@pytest.mark.parametrize("format", ["avro", "json", "protobuf"])
async def test_what_they_write_we_read_and_the_reverse(format: Any, tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        given = _given(format)
        theirs = await asyncio.to_thread(confluent.write, url, "orders", OrderSettled, format, given)
        codec = RegisteredCodec(OrderSettled, registry, "orders-value", format)
        assert await codec.read([theirs]) == [EVENT]
        await codec.open()
        (ours,) = codec.encode([EVENT])
        assert ours == theirs  # the id too: it is the same schema
        back = await asyncio.to_thread(confluent.read, url, "orders", OrderSettled, format, ours)
        if format == "protobuf":
            assert (back.id, back.lines[0].sku, back.lines[0].price, back.currency) == ("c", "x", 1.5, "CHF")
        else:
            assert back == PLAIN
        assert await registry.versions("orders-value") == [1]


async def test_their_client_asks_all_that_it_can(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url:
        await asyncio.to_thread(_asks_all, url)


def _asks_all(url: str) -> None:
    with confluent.client(url) as client:
        _ask(client)


def _ask(client: Any) -> None:
    from confluent_kafka.schema_registry import (
        ConfigCompatibilityLevel,
        Schema,
        SchemaReference,
        ServerConfig,
    )
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    def fails(code: int, status: int, call: Any, *given: Any, **named: Any) -> str:
        with pytest.raises(SchemaRegistryError) as caught:
            call(*given, **named)
        assert (caught.value.error_code, caught.value.http_status_code) == (code, status)
        return str(caught.value.error_message)

    first, second, third = (
        Schema(schema_of(kind, "avro").text, "AVRO") for kind in (First, Second, OrderSettled)
    )
    assert client.get_subjects() == []
    fails(40401, 404, client.get_versions, "a/b-value")
    fails(40403, 404, client.get_schema, 7)
    id = client.register_schema("a/b-value", first)
    assert client.get_schema(id).schema_str == first.schema_str
    assert client.get_subjects() == ["a/b-value"]
    assert client.register_schema("other", first) == id
    assert client.get_subjects_by_schema_id(id) == ["a/b-value", "other"]
    assert [(one.subject, one.version) for one in client.get_schema_versions(id)] == [
        ("a/b-value", 1),
        ("other", 1),
    ]
    said = fails(409, 409, client.register_schema, "a/b-value", second)
    assert "$.lines: the new version can't read what version 1 writes" in said
    assert not client.test_compatibility("a/b-value", second)
    fails(42201, 422, client.register_schema, "a/b-value", Schema('{"type":"record"}', "AVRO"))
    assert client.get_compatibility() == "BACKWARD"
    assert fails(40408, 404, client.get_config, "a/b-value")
    client.set_config("a/b-value", ServerConfig(compatibility=ConfigCompatibilityLevel.NONE))
    assert client.get_compatibility("a/b-value") == "NONE"
    client.register_schema("a/b-value", second)
    assert client.get_versions("a/b-value") == [1, 2]
    latest = client.get_latest_version("a/b-value")
    assert (latest.version, latest.schema.schema_str) == (2, second.schema_str)
    assert client.get_version("a/b-value", 1).schema_id == id
    fails(40402, 404, client.get_version, "a/b-value", 3)
    assert client.lookup_schema("a/b-value", second).version == 2
    fails(40403, 404, client.lookup_schema, "a/b-value", third)
    fails(42203, 422, client.set_compatibility, "a/b-value", "SIDEWAYS")
    referring = Schema(
        '{"type":"record","name":"Box","fields":[{"name":"it","type":"OrderSettled"}]}',
        "AVRO",
        [SchemaReference("OrderSettled", "a/b-value", 2)],
    )
    box = client.register_schema("box", referring)
    assert client.get_referenced_by("a/b-value", 2) == [box]
    fails(42206, 422, client.delete_version, "a/b-value", 2)
    assert client.delete_version("a/b-value", 1) == 1
    assert client.get_versions("a/b-value") == [2]
    fails(40407, 404, client.delete_version, "a/b-value", 2, permanent=True)
    fails(40405, 404, client.delete_subject, "other", permanent=True)
    assert client.delete_subject("other") == [1]
    assert client.delete_subject("other", permanent=True) == [1]
    fails(40401, 404, client.get_versions, "other")
    assert client.get_global_mode() == "READWRITE"
    client.update_global_mode("READONLY")
    fails(42205, 422, client.register_schema, "new", third)
    fails(42204, 422, client.update_global_mode, "UPSIDE_DOWN")
