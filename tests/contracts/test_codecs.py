"""Chunks of events as payloads and back; what doesn't fit names its number; schemas are those that others read."""

import enum
import importlib
import io
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import fastavro
import grpc_tools
import msgspec
import pytest
from google.protobuf import message as protobuf_message
from grpc_tools import protoc
from hypothesis import given
from hypothesis import strategies as st

from reactor.contracts import (
    Avro,
    Json,
    MessagePack,
    PayloadCodec,
    PayloadMismatch,
    Protobuf,
    UpcastFailed,
    avro_schema,
    event,
    protobuf_schema,
)
from reactor.core import ArgumentError
from tests.contracts.rich import RICH, Rich
from tests.contracts.shops import EVENTS, FIRST, SECOND, First, OrderSettled, Second
from tests.engine.graphs import examples

T = TypeVar("T")

CODECS: list[PayloadCodec[Rich]] = [Json(Rich), MessagePack(Rich), Avro(Rich), Protobuf(Rich)]


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@examples()
@given(st.lists(RICH, max_size=2))
def test_a_chunk_comes_back_as_it_was(codec: PayloadCodec[Rich], events: list[Rich]) -> None:
    payloads = codec.encode(events)
    assert [type(payload) for payload in payloads] == [bytes] * len(events)
    assert codec.decode(payloads) == events


@pytest.mark.parametrize("make", [Json, MessagePack, Avro, Protobuf])
def test_what_does_not_fit_names_its_number(make: Any) -> None:
    codec = make(OrderSettled)
    good = codec.encode([EVENTS[0]])[0]
    with pytest.raises(PayloadMismatch, match="payload 1: OrderSettled version 3: "):
        codec.decode([good, b"\xff\xff\xff", good])
    with pytest.raises(ArgumentError, match=r"\(OrderSettled\): event 1: can't be encoded"):
        codec.encode([EVENTS[0], OrderSettled("a", object(), "EUR")])


@pytest.mark.parametrize("make", [Json, MessagePack])
def test_older_payloads_are_brought_on(make: Any) -> None:
    codec = make(OrderSettled)
    assert codec.decode(make(First).encode([First("a", 9.5)]), 1) == EVENTS[:1]
    with pytest.raises(UpcastFailed, match="payload 0: "):
        codec.decode(make(list).encode([[]]), 2)


def test_older_avro_is_read_with_its_schema_and_brought_on() -> None:
    payloads = Avro(Second).encode([msgspec.convert(SECOND, Second)])
    assert Avro(OrderSettled, writer=avro_schema(Second)).decode(payloads, 2) == [EVENTS[1]]
    with pytest.raises(ArgumentError, match=r"pass Avro\(OrderSettled, writer=...\)"):
        Avro(OrderSettled).decode(payloads, 2)


def test_avro_resolves_the_writer_s_schema() -> None:
    class Total(msgspec.Struct):
        total: float
        currency: str = "EUR"

    event("OrderSettledTotal")(Total)
    codec = Avro(Total, writer={**avro_schema(First), "name": "OrderSettledTotal"})
    assert codec.decode(Avro(First).encode([First("a", 9.5)])) == [Total(9.5, "EUR")]


# Schemas that others read ---------------------------------------------------------------------------------------


@examples(0.3)
@given(RICH)
def test_fastavro_takes_the_schema_and_reads_the_payload(value: Rich) -> None:
    schema = avro_schema(Rich)
    fastavro.parse_schema(schema)
    assert (schema["name"], schema["version"]) == ("Rich", 2)
    read: Any = fastavro.schemaless_reader(io.BytesIO(Avro(Rich).encode([value])[0]), schema, None)
    assert read["at"] == value.at
    assert read["id"] == value.id
    assert read["by"]["number"] == value.by.number


def test_a_default_is_of_the_first_branch_and_a_type_is_written_once() -> None:
    fields = {field["name"]: field for field in avro_schema(Rich)["fields"]}
    assert fields["limit"] == {"name": "limit", "type": "long", "default": 7}
    assert fields["maybe"] == {
        "name": "maybe",
        "type": ["null", {"type": "array", "items": "long"}],
        "default": None,
    }
    assert fields["places"]["type"] == {"type": "map", "values": "Item"}
    assert fields["at"]["type"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert fields["note"]["type"] == ["string", "null"]
    assert "default" not in fields["note"]


def test_a_contract_s_dots_are_a_namespace() -> None:
    @event("shop.orders.Placed")
    class Placed(msgspec.Struct):
        id: str

    schema = avro_schema(Placed)
    assert (schema["namespace"], schema["name"]) == ("shop.orders", "Placed")
    fastavro.parse_schema(schema)
    assert Avro(Placed).decode(Avro(Placed).encode([Placed("a")])) == [Placed("a")]


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that protoc makes of the exported file."""
    (tmp_path / "rich_events.proto").write_text(protobuf_schema(Rich, OrderSettled, package="shop.events"))
    include = Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(
        ["protoc", f"-I{tmp_path}", f"-I{include}", f"--python_out={tmp_path}", "rich_events.proto"]
    )
    assert code == 0
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("rich_events_pb2")
    sys.modules.pop("rich_events_pb2")


def test_protoc_compiles_the_file_and_reads_the_payload(compiled: Any) -> None:
    value = _rich()
    made = compiled.Rich()
    made.ParseFromString(Protobuf(Rich).encode([value])[0])
    assert made.amount == value.amount
    assert made.at.ToDatetime(tzinfo=value.at.tzinfo) == value.at
    assert made.by_transfer.number == "DE1"
    assert [item.sku for item in made.items] == ["x"]
    assert dict(made.counts) == {"a": 1}
    assert made.places[3].price == "1.50"
    assert made.WhichOneof("value") == "value_string"
    assert not made.HasField("note")
    assert [list(row.value) for row in made.grid] == [[1], []]
    assert Protobuf(Rich).decode([made.SerializeToString()]) == [value]
    order = compiled.OrderSettled()
    order.ParseFromString(Protobuf(OrderSettled).encode([EVENTS[1]])[0])
    assert (order.lines[0].price, order.currency) == (2.0, "EUR")


def _rich() -> Rich:
    plain = {
        "id": "00000000-0000-0000-0000-000000000007", "amount": -3, "rate": 0.5, "paid": True, "raw": "aGk=",
        "at": "2026-03-01T12:00:00.000007Z", "day": "2026-03-01", "hour": "12:00:00", "took": "PT3S",
        "price": "1.10", "colour": "red", "size": "m", "pair": [1, "b"],
        "items": [{"sku": "x", "price": "2.00", "tags": ["t"]}], "by": {"type": "Transfer", "number": "DE1"},
        "counts": {"a": 1}, "places": {"3": {"sku": "y", "price": "1.50", "tags": []}}, "note": None,
        "first": None, "value": "text", "grid": [[1], []], "gaps": [None, 2],
    }  # fmt: skip
    return msgspec.convert(plain, Rich, str_keys=True)


def test_a_message_read_by_older_code_keeps_what_that_knows() -> None:
    class Older(msgspec.Struct):
        id: str

    class Newer(msgspec.Struct):
        id: str
        total: int = 3

    older, newer = Protobuf(Older), Protobuf(Newer)
    assert older.decode(newer.encode([Newer("a", 9)])) == [Older("a")]
    assert newer.decode(older.encode([Older("a")])) == [Newer("a", 3)]
    assert newer.decode(newer.encode([Newer("a", 0)])) == [Newer("a", 0)]


@pytest.mark.parametrize(
    ("kind", "schema", "says"),
    [
        (complex, avro_schema, "x: Avro has no type for Custom"),
        (complex, protobuf_schema, "x: Protobuf has no type for Custom"),
        (dict[str, Any], avro_schema, r"x\.\*: Avro has no type for Any"),
        (tuple[list[int], list[str]], avro_schema, "x: a union in Avro has one array; wrap them"),
        (Literal["a", 3], protobuf_schema, "x: is both texts and ints; make it one of them"),
        (Literal["a"] | str, protobuf_schema, "x: the union has two that are string; wrap them in structs"),
    ],
)
def test_what_a_schema_cannot_say_is_told(kind: Any, schema: Any, says: str) -> None:
    made: Any = msgspec.defstruct("Odd", [("x", kind)])
    with pytest.raises(ArgumentError, match=says):
        schema(made)


def test_what_protobuf_cannot_tell_apart_is_refused() -> None:
    odd: Any = msgspec.defstruct("Odd", [("x", int | None, 5)])
    with pytest.raises(ArgumentError, match=r"Odd\.x: None and a default that isn't can't be told apart"):
        protobuf_schema(odd)
    two: Any = msgspec.defstruct("Odd", [("x", Any)], array_like=True)
    with pytest.raises(ArgumentError, match="is array_like"):
        protobuf_schema(two)
    with pytest.raises(ArgumentError, match="is array_like"):
        avro_schema(two)
    with pytest.raises(ArgumentError, match="a struct, dataclass or attrs class"):
        avro_schema(int)
    with pytest.raises(ArgumentError, match="package='a b'"):
        protobuf_schema(First, package="a b")


class Box(msgspec.Struct, Generic[T]):
    content: T


@pytest.mark.parametrize("make", [Json, MessagePack, Avro, Protobuf])
def test_each_of_a_generic_type_is_one_of_its_own(make: Any) -> None:
    boxes: Any = msgspec.defstruct("Boxes", [("a", Box[int]), ("b", Box[str]), ("c", Box[int])])
    codec = make(boxes)
    value = boxes(Box(1), Box("x"), Box(2))
    assert codec.decode(codec.encode([value])) == [value]


class Key(enum.Enum):
    A = "a"


@pytest.mark.parametrize("make", [Json, MessagePack, Avro, Protobuf])
@pytest.mark.parametrize(("kind", "key"), [(int, 3), (Key, Key.A), (UUID, UUID(int=7)), (str, "x")])
def test_keys_of_a_dict_that_are_no_texts(make: Any, kind: Any, key: Any) -> None:
    keyed: Any = msgspec.defstruct("Keyed", [("by", dict[kind, int])])
    codec = make(keyed)
    assert codec.decode(codec.encode([keyed({key: 1})])) == [keyed({key: 1})]


@pytest.mark.parametrize("make", [Json, MessagePack, Avro, Protobuf])
def test_a_field_may_be_called_as_python_s_words_are(make: Any) -> None:
    class Moved(msgspec.Struct, rename={"source": "from", "maybe": "None"}):
        source: str
        maybe: int | None = None

    codec = make(Moved)
    assert codec.decode(codec.encode([Moved("a", 3), Moved("b")])) == [Moved("a", 3), Moved("b")]


def test_a_time_without_a_zone_is_no_moment() -> None:
    moment: Any = msgspec.defstruct("Moment", [("at", datetime)])
    with pytest.raises(ArgumentError, match="has no time zone"):
        Protobuf(moment).encode([moment(datetime(2026, 1, 1))])  # noqa: DTZ001


def test_protobuf_s_own_errors_are_causes() -> None:
    with pytest.raises(PayloadMismatch) as caught:
        Protobuf(First).decode([b"\xff"])
    assert isinstance(caught.value.__cause__, protobuf_message.DecodeError)
    assert FIRST == {"id": "a", "total": 9.5}
