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
def test_pairs_are_read_as_headers_are(messages: list[Any]) -> None:
    wire = Wire("orders", "kafka")
    pairs = Pairs(wire)
    for message in messages * 2:
        assert pairs.read(message, b"1") == wire.read(text_of(message), b"1")


def test_pairs_as_they_are_written_are_read_without_making_texts_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire("orders", "kafka")
    pairs = Pairs(wire)
    monkeypatch.setattr("reactor.connectors.brokers.pairs.text_of", None)
    for n, key, version in ((1, None, None), (2, "k", None), (3, None, "7"), (4, "\u00e4", "2")):
        own = {VERSION: version} if version else None
        written = wire.headers((f"{n}", "Tick", key, own, n * 1_000_003, b""))
        raw = [(name, value.encode()) for name, value in written.items()]
        assert pairs.read(raw, b"x") == (f"{n}", "Tick", key, own, n * 1_000_003, b"x")
