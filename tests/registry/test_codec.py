"""Payloads with the id of their schema: read with the writer's, brought on to the current version."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.contracts import ContractError, NewerVersion, event
from reactor.core import ArgumentError
from reactor.registry import (
    RegisteredCodec,
    Registry,
    RegistryError,
    SchemaMissing,
    SchemaText,
    UnknownWriter,
    serve,
)
from reactor.registry.wire import head, id_of, indexes_of
from tests.contracts.rich import RICH, Rich
from tests.contracts.shops import EVENTS, First, Line, OrderSettled, Second
from tests.engine.graphs import examples

FORMATS: Any = ["avro", "json", "protobuf"]


class Known(Registry):
    """Hands out ids itself, so that hypothesis needs no server."""

    def __init__(self) -> None:
        super().__init__("http://nowhere")

    async def register(self, subject: str, schema: SchemaText) -> int:
        return 1


@pytest.mark.parametrize("format", FORMATS)
@examples()
@given(st.lists(RICH, max_size=2))
def test_a_chunk_comes_back_as_it_was(format: Any, events: list[Rich]) -> None:
    codec = RegisteredCodec(Rich, Known(), "rich-value", format)
    codec.id, codec._writers = 1, {1: codec.schema}
    payloads = codec.encode(events)
    assert all(payload[:5] == b"\0\0\0\0\1" for payload in payloads)
    assert codec.decode(payloads) == events


@pytest.mark.asyncio
@pytest.mark.parametrize("format", FORMATS)
async def test_older_versions_come_through_their_upcasters(format: Any, tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        await registry.set_level("NONE", "settled")
        reader = RegisteredCodec(OrderSettled, registry, "settled", format)
        written: list[tuple[type[Any], Any]] = [
            (First, First("a", 9.5)),
            (Second, Second("b", [Line("x", 2.0)])),
            (OrderSettled, EVENTS[2]),
        ]
        for version, (kind, one) in enumerate(written, 1):
            writer = RegisteredCodec(kind, registry, "settled", format)
            await writer.open()
            # A schema of Protobuf has no place for the version: who reads has to be told.
            told = version if format == "protobuf" else None
            assert await reader.read(writer.encode([one]), told) == [EVENTS[version - 1]]
        assert await registry.versions("settled") == [1, 2, 3]
        older = RegisteredCodec(First, registry, "settled", format)
        with pytest.raises((NewerVersion, ContractError)) as caught:
            await older.read(writer.encode([EVENTS[2]]), told)
        if format != "protobuf":
            assert "the newest that this code knows is version 1" in str(caught.value)


@pytest.mark.asyncio
async def test_schemas_of_others_are_resolved_as_avro_says(tmp_path: Path) -> None:
    @event("PaidByOthers")
    class Paid(msgspec.Struct):
        id: str
        amount: float
        note: str = "none"

    theirs = (
        '{"type":"record","name":"PaidByOthers","namespace":"shop","fields":['
        '{"name":"more","type":"string"},{"name":"amount","type":"int"},{"name":"id","type":"string"}]}'
    )
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        id = await registry.register("paid-value", SchemaText("AVRO", theirs))
        codec = RegisteredCodec(Paid, registry, "paid-value", "avro")
        assert await codec.read([head(id) + b"\x02x\x0e\x02a"]) == [Paid("a", 7.0)]


@pytest.mark.asyncio
async def test_protobuf_of_others_is_read_by_numbers_and_other_messages_are_not(tmp_path: Path) -> None:
    @event("SentByOthers")
    class Sent(msgspec.Struct):
        id: str
        amount: int

    theirs = """
        syntax = "proto3"; package shop;
        message Box { message SentByOthers { string name = 1; int64 value = 2; } }
        message Other { string id = 1; }
        message SentByOthers { string id = 1; double amount = 2; }
    """
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        id = await registry.register("paid-value", SchemaText("PROTOBUF", theirs))
        codec = RegisteredCodec(Sent, registry, "paid-value", "protobuf")
        assert await codec.read([head(id, [0, 0]) + b"\x0a\x01a\x10\x07"]) == [Sent("a", 7)]
        with pytest.raises(ContractError, match=r"is a message shop\.Other, not Sent"):
            await codec.read([head(id, [1]) + b"\x0a\x01a"])
        with pytest.raises(ContractError, match="number 2 is double, not int64") as caught:
            await codec.read([head(id, [2]) + b"\x0a\x01a"])
        assert caught.value.path == "$.amount"
        with pytest.raises(ContractError, match="has no message 3"):
            await codec.read([head(id, [3])])


@pytest.mark.asyncio
@pytest.mark.parametrize("format", FORMATS)
async def test_what_does_not_fit_is_a_contract_error(format: Any, tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        codec = RegisteredCodec(Line, registry, "lines-value", format)
        with pytest.raises(Exception, match="isn't open"):
            codec.encode([Line("x", 1.0)])
        await codec.open()
        good = codec.encode([Line("x", 1.0)])[0]
        with pytest.raises(UnknownWriter):
            codec.decode([good])
        assert await codec.read([good]) == [Line("x", 1.0)]
        for bad in (b"", b"\0", b"{}", good[:5] + b"\xff\xff\xff", b"\0\0\0\1\0more"):
            with pytest.raises(ContractError, match="payload 1: "):
                await codec.read([good, bad, good])
        with pytest.raises(ArgumentError, match="event 0: can't be encoded"):
            codec.encode([Line(object(), 1.0)])  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_schema_that_was_missing_is_asked_for_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        early = RegisteredCodec(Line, registry, "lines-value", "json")
        payload = head(1) + b'{"sku":"x","price":1.0}'
        with pytest.raises(ContractError, match="its schema 1 isn't in the registry"):
            await early.read([payload])
        await RegisteredCodec(Line, registry, "lines-value", "json").open()
        with pytest.raises(ContractError, match="its schema 1 isn't in the registry"):
            await early.read([payload])  # one request for each such payload would be too many
        monkeypatch.setattr("reactor.registry.codec.AGAIN", 0.0)
        assert await early.read([payload]) == [Line("x", 1.0)]


@pytest.mark.asyncio
async def test_writers_schemas_are_kept_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactor.registry.codec.MOST", 2)
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url, cache=1) as registry:
        codec = RegisteredCodec(Line, registry, "lines-value", "json")
        payloads = []
        for n in range(3):
            schema = SchemaText("JSON", f'{{"type":"object","title":"{n}"}}')
            payloads.append(head(await registry.register(f"s{n}", schema)) + b'{"sku":"x","price":1.0}')
            await codec.read([payloads[n]])
        assert codec.decode(payloads[1:]) == [Line("x", 1.0)] * 2
        with pytest.raises(UnknownWriter):
            codec.decode(payloads[:1])
        assert await codec.read(payloads[:1]) == [Line("x", 1.0)]
        assert (len(codec._writers), len(codec._readers[None])) == (2, 2)


@pytest.mark.asyncio
async def test_a_place_in_json_is_named(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        codec = RegisteredCodec(OrderSettled, registry, "settled", "json")
        await codec.open()
        assert codec.id is not None
        bad = b'{"id":"c","lines":[{"sku":"x","price":"?"}],"currency":"CHF"}'
        with pytest.raises(ContractError) as caught:
            await codec.read([head(codec.id) + bad])
        assert (caught.value.path, caught.value.version) == ("$.lines[0].price", 3)


@pytest.mark.asyncio
async def test_a_codec_may_be_kept_from_registering(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        codec = RegisteredCodec(Line, registry, "lines-value", register=False)
        with pytest.raises(SchemaMissing, match=r"Subject 'lines-value' not found. \(40401\)"):
            await codec.open()
        await RegisteredCodec(Line, registry, "lines-value").open()
        await codec.open()
        assert codec.id == 1


@pytest.mark.asyncio
async def test_incompatible_contracts_are_told_with_both_versions_the_field_and_the_fix(
    tmp_path: Path,
) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        await RegisteredCodec(First, registry, "settled").open()
        with pytest.raises(RegistryError) as caught:
            await RegisteredCodec(OrderSettled, registry, "settled").open()
        said = str(caught.value)
        assert (
            "OrderSettled version 3 isn't BACKWARD compatible with version 1 of the subject (OrderSettled)"
            in said
        )
        assert "$.currency: the new version can't read what version 1 writes: isn't written" in said
        assert "give it one" in said


def test_message_indexes() -> None:
    # Confluent's documentation: [1, 0] is written as 2, 1, 0 in zigzag.
    assert head(5, [1, 0]) == b"\0\0\0\0\5\4\2\0"
    assert head(5, [0]) == b"\0\0\0\0\5\0"
    for indexes in ([0], [1], [0, 0], [3, 2, 1], [500]):
        assert indexes_of(head(1 << 30, indexes) + b"rest") == (tuple(indexes), len(head(1, indexes)))
    assert id_of(head(1 << 30)) == 1 << 30
    for bad in (b"\0\0\0\0\5", b"\0\0\0\0\5\x80", b"\0\0\0\0\5\x7e\2", b"\0\0\0\0\5\1"):
        with pytest.raises(ValueError, match="message indexes"):
            indexes_of(bad)
