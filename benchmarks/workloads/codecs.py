"""Codecs: chunks of 1,000 events to payloads and back, beside the bare library called by hand.

The hand-written loops do the same work: each makes what its library takes of a typed event, and a typed event of
what the library gives back, field by field.
"""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from benchmarks.harness import Workload
from reactor.contracts import Avro, Json, MessagePack, PayloadCodec, Protobuf, avro_schema, event

CHUNK = 1_000
EVENTS = 100_000


class Line(msgspec.Struct):
    sku: str
    quantity: int
    price: float


@event("BenchedOrder")
class Order(msgspec.Struct):
    id: str
    customer: str
    paid: bool
    at: datetime
    lines: list[Line]
    note: str | None = None


_START = datetime(2026, 1, 1, tzinfo=UTC)
_orders = [
    Order(
        f"order-{n}",
        f"customer-{n % 97}",
        n % 2 == 0,
        _START + timedelta(seconds=n),
        [Line(f"sku-{n % 13}", n % 5, 1.25), Line("sku-0", 1, 2.5)],
        None if n % 3 else "leave it at the door",
    )
    for n in range(CHUNK)
]

Chunked = Callable[[list[Order]], list[bytes]]
Read = Callable[[list[bytes]], list[Order]]


def there_and_back(events: int, encode: Chunked, decode: Read) -> tuple[int, int]:
    """How many bytes all payloads have, and how many lines came back."""
    size = lines = 0
    for start in range(0, events, CHUNK):
        payloads = encode(_orders[: min(CHUNK, events - start)])
        size += sum(map(len, payloads))
        lines += sum(len(order.lines) for order in decode(payloads))
    return size, lines


def _work(name: str, library: str, codec: Callable[[], PayloadCodec[Order]]) -> Workload:
    work = Workload(
        f"codecs-{name}", f"{name}: 1,000 events to payloads and back, by hand: {library}", EVENTS
    )
    made: list[PayloadCodec[Order]] = []

    @work.system("reactor")
    def by_codec(events: int) -> tuple[int, int]:
        if not made:
            made.append(codec())  # in the round that isn't counted
        return there_and_back(events, made[0].encode, made[0].decode)

    return work


JSON = _work("json", "msgspec", lambda: Json(Order))
MESSAGEPACK = _work("msgpack", "msgspec", lambda: MessagePack(Order))
AVRO = _work("avro", "fastavro", lambda: Avro(Order))
PROTOBUF = _work("protobuf", "protobuf", lambda: Protobuf(Order))


@JSON.system("loop")
def json_by_hand(events: int) -> tuple[int, int]:
    write, read = msgspec.json.Encoder().encode, msgspec.json.Decoder(Order).decode
    return there_and_back(
        events,
        lambda orders: [write(order) for order in orders],
        lambda payloads: [read(payload) for payload in payloads],
    )


@MESSAGEPACK.system("loop")
def msgpack_by_hand(events: int) -> tuple[int, int]:
    write, read = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Order).decode
    return there_and_back(
        events,
        lambda orders: [write(order) for order in orders],
        lambda payloads: [read(payload) for payload in payloads],
    )


@AVRO.system("loop")
def avro_by_hand(events: int) -> tuple[int, int]:
    import fastavro

    schema = fastavro.parse_schema(avro_schema(Order))
    write, read = fastavro.schemaless_writer, fastavro.schemaless_reader

    def encode(orders: list[Order]) -> list[bytes]:
        payloads = []
        for order in orders:
            out = io.BytesIO()
            plain = {
                "id": order.id,
                "customer": order.customer,
                "paid": order.paid,
                "at": order.at,
                "lines": [
                    {"sku": line.sku, "quantity": line.quantity, "price": line.price} for line in order.lines
                ],
                "note": order.note,
            }
            write(out, schema, plain)
            payloads.append(out.getvalue())
        return payloads

    def decode(payloads: list[bytes]) -> list[Order]:
        orders = []
        for payload in payloads:
            plain: Any = read(io.BytesIO(payload), schema, None)
            lines = [Line(line["sku"], line["quantity"], line["price"]) for line in plain["lines"]]
            fields = plain["id"], plain["customer"], plain["paid"], plain["at"], lines, plain["note"]
            orders.append(Order(*fields))
        return orders

    return there_and_back(events, encode, decode)


_class: list[Any] = []


def _message() -> Any:
    """The class that protoc would make of the same .proto file."""
    if not _class:
        _class.append(Protobuf(Order)._class)
    return _class[0]


@PROTOBUF.system("loop")
def protobuf_by_hand(events: int) -> tuple[int, int]:
    made = _message()
    read = made.FromString

    def encode(orders: list[Order]) -> list[bytes]:
        payloads = []
        for order in orders:
            message = made(id=order.id, customer=order.customer, paid=order.paid, note=order.note)
            message.at.FromDatetime(order.at)
            add = message.lines.add
            for line in order.lines:
                add(sku=line.sku, quantity=line.quantity, price=line.price)
            payloads.append(message.SerializeToString())
        return payloads

    def decode(payloads: list[bytes]) -> list[Order]:
        orders = []
        for payload in payloads:
            message = read(payload)
            lines = [Line(line.sku, line.quantity, line.price) for line in message.lines]
            note = message.note if message.HasField("note") else None
            at = message.at.ToDatetime(UTC)
            orders.append(Order(message.id, message.customer, message.paid, at, lines, note))
        return orders

    return there_and_back(events, encode, decode)


WORKS = (JSON, MESSAGEPACK, AVRO, PROTOBUF)
