"""Headers as pairs of a name and bytes are read as Wire reads them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.connectors.brokers import Wire
from reactor.connectors.brokers.pairs import Pairs
from reactor.connectors.brokers.wire import text_of
from reactor.contracts import VERSION

_VALUES = st.one_of(
    st.sampled_from([None, "text", b"\xff", b"", "2026-12-01T10:06:52.610857+00:00"]),
    st.sampled_from(
        [b"2", b"Tick", b"2026-12-01T10:06:52.610857+00:00", b"2026-12-01T10:06:52Z", b"yesterday"]
    ),
    st.integers(-(2**50), 2**50).map(
        lambda time: Wire("t").headers(("1", "T", None, None, time, b""))["ce-time"].encode()
    ),
)
_PAIRS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "ce_id",
                "ce_type",
                "ce_time",
                "ce_partitionkey",
                "ce_reactorversion",
                "ce_source",
                "content-type",
                "x",
            ]
        ),
        _VALUES,
    ),
    max_size=9,
)
_PLAIN = st.tuples(*(st.tuples(st.just(name), _VALUES) for name in ("ce_id", "ce_type", "ce_time"))).map(list)


@given(messages=st.lists(_PAIRS | _PLAIN, max_size=6))
def test_what_is_read_is_what_wire_reads(messages: list[Any]) -> None:
    wire = Wire("orders", "kafka")
    pairs = Pairs(wire)
    for message in messages * 2:
        told = pairs.read(tuple(name for name, _ in message), [value for _, value in message])
        assert told is None or told == wire.read(text_of(message), b"1")[1:5]


def test_a_time_that_is_none_is_none_whatever_was_read_before() -> None:
    pairs = Pairs(Wire("t"))
    told = [
        pairs.read(("ce-id", "ce-type", "ce-time"), [b"1", b"T", time])
        for time in (b"2026-12-01T10:06:52.610857+00:00", b"2026-12-01T10:06:52x610857+00:00")
    ]
    assert told == [("T", None, None, 1_796_119_612_610_857), None]


@pytest.mark.parametrize("named", [str, str.encode])
@pytest.mark.parametrize(("key", "version"), [(None, None), ("k", None), (None, "7"), ("\u00e4", "2")])
def test_what_we_write_is_read(named: Any, key: str | None, version: str | None) -> None:
    wire = Wire("orders", "kafka")
    pairs = Pairs(wire)
    own = {VERSION: version} if version else None
    for n in (0, 5, 999_999, -1, 2**50):
        written = wire.headers((f"{n}", "Tick", key, own, n, b""))
        told = pairs.read(tuple(map(named, written)), [value.encode() for value in written.values()])
        assert told == ("Tick", key, own, n)
