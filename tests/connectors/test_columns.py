"""Messages in columns say what the same messages say one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from reactor.connectors.brokers import BrokerSource, Columns, Consumer, Delivery, Wire
from reactor.connectors.brokers.columns import Token, Tokens
from reactor.connectors.brokers.wire import text_of
from reactor.connectors.codec import JsonCodec
from reactor.connectors.kafka.incoming import Incoming, Outgoing
from reactor.connectors.kafka.lots import LIFE, Lot
from reactor.connectors.kafka.names import Names
from reactor.contracts import VERSION, event, upcast
from reactor.core import Record, Records

pytestmark = pytest.mark.anyio


# Records ----------------------------------------------------------------------------------------------------


def test_a_record_is_made_once_when_somebody_looks() -> None:
    made: list[int] = []

    def make(at: int) -> Record[str]:
        made.append(at)
        return Record("abc"[at], position=at)

    records = Records(["a", "b", "c"], make)
    assert (len(records), records.values, made) == (3, ["a", "b", "c"], [])
    assert records[-1] is records[2]
    assert made == [2]
    assert [record.position for record in records] == [0, 1, 2]
    assert records[1:] == [records[1], records[2]]
    assert sorted(made) == [0, 1, 2]
    with pytest.raises(IndexError):
        records[3]


# Tokens -----------------------------------------------------------------------------------------------------

_TOKENS = st.lists(st.lists(st.tuples(st.sampled_from("012"), st.integers(0, 99)), max_size=5), max_size=6)


@given(lots=_TOKENS, shares=st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_tokens_are_a_queue(lots: list[list[Token]], shares: list[float]) -> None:
    tokens, plain = Tokens(), []
    for lot in lots:
        tokens.add([part for part, _ in lot], [after for _, after in lot])
        plain += lot
        share = shares[len(plain) % 4]
        count = int(share * len(plain))
        assert tokens.folded({"0": -1}, count) == {"0": -1, **dict(plain[:count])}
        tokens.drop(count // 2)
        del plain[: count // 2]
        assert (len(tokens), list(tokens)) == (len(plain), plain)


# Of Kafka ------------------------------------------------------------------------

_NAMES = ["ce_id", "ce_type", "ce_time", "ce_partitionkey", "ce_reactorversion", "ce_source", "content-type"]
_VALUES = st.sampled_from(
    [
        *(None, b"\xff", b"", b"2", b"Tick", b"Tock", b"2026-12-01T10:06:52.610857+00:00", b"yesterday"),
        b"application/cloudevents+json",
    ]
)
_HEADERS = st.lists(st.tuples(st.sampled_from([*_NAMES, VERSION, "x"]), _VALUES), max_size=9)
_OURS = st.tuples(*(st.tuples(st.just(name), _VALUES) for name in _NAMES)).map(list)
_DATA = st.sampled_from(
    [None, b"", b"{}", b'{"specversion":"1.0","id":"1","type":"T","source":"s","data":1}']
)


def _message(
    headers: Sequence[tuple[str, bytes | None]] | None,
    data: bytes | None = b"{}",
    *,
    key: bytes | None = None,
    offset: int = 0,
    partition: int = 0,
    topic: str = "orders",
    error: KafkaError | None = None,
) -> Message:
    make: Any = Message
    return make(
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        value=data,
        headers=headers,
        error=error,
        timestamp=(1, 5),
    )


def _failed(error: KafkaError, message: Message) -> None:
    raise AssertionError(f"{error} at {message.offset()}")


@given(given=st.lists(st.tuples(_HEADERS | _OURS, _DATA, st.sampled_from([None, b"k", b"\xff"])), max_size=6))
def test_a_message_says_what_wire_reads(given: list[tuple[Any, bytes | None, bytes | None]]) -> None:
    incoming, outgoing, wire = (
        Incoming(Names("orders"), {"0": -1}, None),
        Outgoing(),
        Wire("", "kafka"),
    )
    for _ in range(2):  # the second time types and versions are known
        messages = [
            _message(headers, data, key=key, offset=at) for at, (headers, data, key) in enumerate(given)
        ]
        lot = incoming.lot(messages, _failed)
        columns = [] if lot is None else outgoing.columns(lot)
        assert len(columns) == len(given)
        for at, (headers, data, key) in enumerate(given):
            told = wire.read(text_of(headers), data or b"")
            time = 5000 if told.time is None else told.time
            its_key = told.key if key is None else key.decode("utf-8", "backslashreplace")
            assert columns[at] == Delivery(
                f"0@{at}", told.type, its_key, told.headers, time, told.data, ("0", at + 1)
            )
            version = (told.headers or {}).get(VERSION)
            assert isinstance(columns, Columns)
            assert (columns.types[at], columns.versions[at], columns.datas[at]) == (
                told.type,
                version,
                told.data,
            )


def test_only_what_is_owned_and_stands_before_the_end_is_read() -> None:
    incoming = Incoming(Names("orders"), {"0": -1, "2": -1}, {"0": 2, "2": 9})
    failures: list[tuple[str | None, int | None]] = []
    messages = [
        _message([], offset=1),
        _message([], offset=5, partition=1),
        _message([], offset=2),
        _message(None, offset=7, partition=2),
        _message(None, offset=8, partition=2, error=KafkaError(KafkaError._PARTITION_EOF)),
    ]
    lot = incoming.lot(messages, lambda error, message: failures.append((error.name(), message.partition())))
    assert lot is not None
    assert [*zip(lot.parts, lot.afters, strict=True)] == [("0", 2), ("2", 8)]
    assert failures == [("_PARTITION_EOF", 2)]
    assert incoming.done == {"0"}
    assert incoming.lot([_message([], offset=0, partition=1)], _failed) is None


def test_each_topic_of_a_pattern_has_its_own_partitions() -> None:
    incoming = Incoming(Names("^orders-"), {"orders-eu/1": -1, "orders-us/0": -1}, None)
    given = [("orders-eu", 1), ("orders-us", 0), ("orders-us", 1), ("orders-eu", 1)]
    lot = incoming.lot([_message([], topic=topic, partition=number) for topic, number in given], _failed)
    assert lot is not None
    told = [(each.id, each.topic) for each in Outgoing().columns(lot)]
    eu, us = ("orders-eu/1@0", "orders-eu"), ("orders-us/0@0", "orders-us")
    assert told == [eu, us, eu]


def test_a_place_is_an_offset_however_often_the_topic_was_made_anew() -> None:
    incoming = Incoming(Names("orders"), {"0": -1}, None)
    lot = incoming.lot([_message([], offset=4)], _failed)
    assert lot is not None
    [each] = Outgoing().columns(lot._replace(afters=[5 + 2 * LIFE]))
    assert (each.id, each.token) == ("0@4", ("0", 5 + 2 * LIFE))


@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5), at=st.integers(0, 12), several=st.booleans()
)
def test_lots_are_put_together_and_cut(sizes: list[int], at: int, several: bool) -> None:
    name = "^o" if several else "o"
    owned = {"o/0": -1, "o/1": -1} if several else {"0": -1, "1": -1}
    incoming = Incoming(Names(name), owned, None)
    whole: Lot | None = None
    offset = 0
    for size in sizes:
        messages = [
            _message([("ce_type", b"T")], b"%d" % n, offset=n, partition=n % 2, topic="o")
            for n in range(offset, offset + size)
        ]
        offset += size
        if (lot := incoming.lot(messages, _failed)) is None:
            continue
        if whole is None:
            whole = lot
        else:
            whole.add(lot)
    if whole is None:
        return
    every = list(Outgoing().columns(whole))
    odd = [each for each in every if each.token[0].endswith("1")]
    assert list(Outgoing().columns(whole.without({name for name in owned if name.endswith("0")}))) == odd
    rest = whole.cut(at)
    assert [*Outgoing().columns(whole), *Outgoing().columns(rest)] == every
    assert len(whole.parts) == min(at, offset)


# Values -----------------------------------------------------------------------------------------------------


@event("Priced", version=2)
class Priced(msgspec.Struct, frozen=True):
    pence: int


@upcast(Priced, from_version=1)
def _in_pounds(data: dict[str, Any]) -> dict[str, Any]:
    return {"pence": data["pounds"] * 100}


class Other(msgspec.Struct, frozen=True):
    text: str


_ROWS = st.lists(
    st.sampled_from(
        [
            *[
                ("Priced", "2", b'{"pence":7}'),
                ("Priced", None, b'{"pounds":3}'),
                ("Priced", "1", b'{"pounds":2}'),
            ],
            *[("Other", None, b'{"text":"a"}'), ("Other", "1", b'{"text":"b"}')],
        ]
    ),
    min_size=1,
    max_size=8,
)
_BAD = st.sampled_from(
    [
        *[("Priced", "2", b'{"pence":"x"}'), ("Priced", "3", b"{}"), ("Priced", None, b'{"pence":7}')],
        *[("Stranger", None, b"{}"), ("Priced", "x", b"{}"), ("Priced", "2", b"{"), ("", None, b"{}")],
    ]
)


class _Twice(Consumer):
    """Gives the same messages, one by one or in columns."""

    positional = True

    def __init__(self, rows: Sequence[tuple[str, str | None, bytes]], *, columns: bool) -> None:
        self.settled: list[Token] = []
        deliveries = [
            Delivery(f"0@{n}", name, "k", version and {VERSION: version}, n, data, (str(n % 2), n + 1))  # type: ignore[arg-type]
            for n, (name, version, data) in enumerate(rows)
        ]
        self._lots: list[Any] = [deliveries]
        if columns:
            types, versions, datas = ([row[column] for row in rows] for column in range(3))
            parts, afters = [each.token[0] for each in deliveries], [each.token[1] for each in deliveries]
            self._lots = [Columns(types, versions, datas, parts, afters, deliveries.__getitem__)]  # type: ignore[arg-type]

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        return self._lots.pop() if self._lots else None

    async def settle(self, tokens: Sequence[Any]) -> None:
        self.settled += tokens


async def _told(
    rows: list[tuple[str, str | None, bytes]], wanted: tuple[Any, ...], *, columns: bool, reject: bool
) -> list[object]:
    consumer = _Twice(rows, columns=columns)
    decode = JsonCodec("t", (Priced, Other)).decoding(wanted)
    source: BrokerSource[Any] = BrokerSource(consumer, decode, name="t", identity="t#g", kind="Other")
    found: list[object] = []
    if reject:
        source.reject = lambda record, error: found.append((record, str(error)))
    await source.open()
    try:
        while (records := await source.read(100)) is not None:
            found += records
            found += [source.position(), source.skipped, source.bookmark(3)]
    except Exception as error:
        found.append(str(error))
    position = source.position()
    assert position is not None
    await source.commit(position // 2)
    found.append(source.bookmark(position))
    await source.commit(position)
    await source.close()
    return [*found, source.bookmark(position), dict(consumer.settled)]


@pytest.mark.parametrize("wanted", [(), (Priced,), (Other,)])
@pytest.mark.parametrize("reject", [False, True])
def test_a_source_says_of_columns_what_it_says_of_deliveries(wanted: tuple[Any, ...], reject: bool) -> None:
    @given(rows=_ROWS, bad=st.lists(st.tuples(st.integers(0, 8), _BAD), max_size=2))
    def check(rows: list[tuple[str, str | None, bytes]], bad: list[tuple[int, Any]]) -> None:
        for at, row in bad:
            rows.insert(at, row)

        async def both() -> None:
            columns = await _told(list(rows), wanted, columns=True, reject=reject)
            assert columns == await _told(list(rows), wanted, columns=False, reject=reject)

        anyio.run(both)

    check()


async def test_good_columns_are_decoded_without_their_records() -> None:
    asked: list[int] = []
    consumer = _Twice([("Other", None, b'{"text":"a"}'), ("Priced", "2", b'{"pence":7}')], columns=True)
    [columns] = consumer._lots
    make = columns._make
    columns._make = lambda at: (asked.append(at), make(at))[1]
    decode = JsonCodec("t", (Priced, Other)).decoding(())
    source: BrokerSource[Any] = BrokerSource(consumer, decode, name="t", identity=None)
    await source.open()
    records = await source.read(10)
    assert isinstance(records, Records)
    assert (records.values, asked) == ([Other("a"), Priced(7)], [])
    assert (records[1].value, records[1].position, asked) == (Priced(7), 1, [1])
    await source.close()


async def test_a_commit_that_is_under_way_while_it_is_opened_again_counts_once() -> None:
    consumer = _Twice([("Other", None, b'{"text":"a"}'), ("Other", None, b'{"text":"b"}')], columns=True)
    asked, answer = anyio.Event(), anyio.Event()

    async def settle(tokens: Sequence[Any]) -> None:
        asked.set()
        await answer.wait()

    sought: list[dict[str, int]] = []

    async def seek(positions: Any) -> None:
        sought.append(dict(positions))

    consumer.settle, consumer.seek = settle, seek  # type: ignore[method-assign]
    source: BrokerSource[Any] = BrokerSource(
        consumer, JsonCodec("t", (Other,)).decoding(()), name="t", identity=None
    )
    await source.open()
    assert len(await source.read(10) or ()) == 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.commit, 1)
        await asked.wait()
        await source.close()
        await source.open()
        answer.set()
    await source.seek(2)
    assert (source.position(), sought) == (2, [{"0": 1, "1": 2}])
    await source.close()
