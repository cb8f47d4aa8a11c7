"""CloudEvents 1.0, both modes, both ways, beside the official SDK (PyPI ``cloudevents``)."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings import http as sdk
from cloudevents.core.bindings import kafka as sdk_kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Official
from hypothesis import given
from hypothesis import strategies as st

from reactor.contracts import CloudEvent, ContractError, cloudevent, from_message
from reactor.core import ArgumentError, DecodeError
from tests.contracts.shops import EVENTS, First, OrderSettled
from tests.engine.graphs import examples

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

EVENT = cloudevent(
    EVENTS[1],
    source="/shop/Zürich 1",
    id="e-1",
    subject='order "b" 100%25',
    time=AT,
    dataschema="https://shop.example/order/3",
    traceparent=TRACE,
)


def attributes(event: Any) -> dict[str, Any]:
    """The official SDK's view of ours: what it must have in each mode."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": AT,
        "dataschema": event.dataschema,
        "datacontenttype": event.datacontenttype,
        **event.extensions,
    }


def test_an_event_becomes_a_cloudevent_of_its_contract() -> None:
    assert (EVENT.type, EVENT.version, EVENT.datacontenttype) == ("OrderSettled", 3, "application/json")
    assert EVENT.traceparent == TRACE
    assert EVENT.load(OrderSettled) == EVENTS[1]
    older = cloudevent(First("a", 9.5), source="/shop")
    assert older.version == 1
    assert "reactorversion" not in older.extensions
    assert older.load(OrderSettled) == EVENTS[0]
    with pytest.raises(ContractError, match="OrderSettled version 3: the newest that this code knows is"):
        EVENT.load(First)


def test_the_official_sdk_reads_our_binary_mode() -> None:
    headers, body = EVENT.binary()
    assert headers["ce-subject"] == "order%20%22b%22%20100%2525"
    read = sdk.from_http(sdk.HTTPMessage(headers, body), JSONFormat())
    assert read.get_attributes() == attributes(EVENT)
    assert read.get_data() == msgspec.to_builtins(EVENTS[1])


def test_the_official_sdk_reads_our_structured_mode() -> None:
    headers, body = EVENT.structured()
    assert headers == {"content-type": "application/cloudevents+json"}
    read = sdk.from_http(sdk.HTTPMessage(headers, body), JSONFormat())
    assert read.get_attributes() == attributes(EVENT)
    assert read.get_data() == msgspec.to_builtins(EVENTS[1])


def test_the_official_sdk_reads_our_kafka_headers() -> None:
    headers, body = EVENT.binary("kafka")
    assert headers["ce_source"] == "/shop/Zürich 1"
    packed = {name: text.encode() for name, text in headers.items()}
    read = sdk_kafka.from_kafka(sdk_kafka.KafkaMessage(packed, None, body), JSONFormat())
    assert read.get_attributes() == attributes(EVENT)


@pytest.fixture
def official() -> Official:
    given = attributes(EVENT)
    return Official(given, msgspec.to_builtins(EVENTS[1]))


@pytest.mark.parametrize("write", [sdk.to_binary, sdk.to_structured])
def test_we_read_what_the_official_sdk_writes(official: Official, write: Any) -> None:
    message = write(official, JSONFormat())
    read = from_message(message.headers, message.body)
    assert msgspec.structs.replace(read, data=None) == msgspec.structs.replace(EVENT, data=None)
    assert read.load(OrderSettled) == EVENTS[1]


def test_we_read_the_kafka_headers_of_the_official_sdk(official: Official) -> None:
    message = sdk_kafka.to_binary(official, JSONFormat())
    headers = {name: value.decode() for name, value in message.headers.items()}
    read = from_message(headers, message.value, "kafka")
    assert msgspec.structs.replace(read, data=None) == msgspec.structs.replace(EVENT, data=None)


@pytest.mark.parametrize("content", ["application/octet-stream", "text/plain; charset=utf-8"])
def test_data_that_is_no_json_goes_both_ways(content: str) -> None:
    ours = CloudEvent(id="1", source="/x", type="t", datacontenttype=content, data=b"\xc3\xbc\x00")
    for message in (ours.binary(), ours.structured()):
        assert from_message(*message) == ours
        read = sdk.from_http(sdk.HTTPMessage(*message), JSONFormat())
        data = read.get_data()
        assert (data.encode() if isinstance(data, str) else data) == ours.data
    theirs = Official(
        {"id": "1", "source": "/x", "type": "t", "specversion": "1.0", "datacontenttype": content},
        b"\xc3\xbc\x00",
    )
    for write in (sdk.to_binary, sdk.to_structured):
        message = write(theirs, JSONFormat())
        assert from_message(message.headers, message.body).data == ours.data


def test_an_event_without_data() -> None:
    bare = CloudEvent(id="1", source="/x", type="t")
    assert bare.binary() == ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "t"}, b"")
    assert json.loads(bare.structured().body) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/x",
        "type": "t",
    }
    assert from_message(*bare.binary()) == from_message(*bare.structured()) == bare


def test_text_data_of_other_senders() -> None:
    document = {"specversion": "1.0", "id": "1", "source": "/", "type": "t", "datacontenttype": "text/plain"}
    read = from_message(
        {"Content-Type": "application/cloudevents+json; charset=utf-8"},
        json.dumps({**document, "data": "hü"}).encode(),
    )
    assert read.data == "hü".encode()


def test_extensions_of_other_kinds_become_texts_and_header_names_have_no_case() -> None:
    document = {
        "specversion": "1.0",
        "id": "1",
        "source": "/",
        "type": "t",
        "sampled": True,
        "rate": 3,
        "gone": None,
    }
    read = from_message({"content-type": "application/cloudevents+json"}, json.dumps(document).encode())
    assert read.extensions == {"sampled": "true", "rate": "3"}
    headers = {name.title(): value for name, value in EVENT.binary().headers.items()}
    assert from_message(headers, EVENT.data or b"") == EVENT


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=9)


@examples()
@given(
    st.builds(
        CloudEvent,
        id=TEXTS,
        source=TEXTS,
        type=TEXTS,
        subject=st.none() | TEXTS,
        time=st.none() | st.integers(-(2**50), 2**52),
        extensions=st.dictionaries(st.sampled_from(["a", "b2"]), TEXTS, max_size=2),
        datacontenttype=st.just("application/x"),
        data=st.none() | st.binary(min_size=1, max_size=5),
    )
)
def test_what_is_written_is_read_in_every_mode_and_binding(event: CloudEvent) -> None:
    assert from_message(*event.structured()) == event
    assert from_message(*event.binary()) == event
    assert from_message(*event.binary("kafka"), "kafka") == event
    assert from_message(*event.binary("amqp"), "amqp") == event
    assert all(text.isascii() and text.isprintable() for text in event.binary().headers.values())


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({}, b"", "has neither the header ce-specversion nor the content type"),
        ({"ce-specversion": "0.3"}, b"", "specversion is '0.3'"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/"}, b"", "missing required field `type`"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", "one event a message"),
        ({"content-type": "application/cloudevents+json"}, b"[]", "isn't a CloudEvent in JSON"),
        (
            {"content-type": "application/cloudevents+json"},
            b'{"specversion": "1.0", "id": 3}',
            "Expected `str`",
        ),
        (
            {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t", "ce-time": "noon"},
            b"",
            "Invalid RFC3339",
        ),
        (
            {
                "ce-specversion": "1.0",
                "ce-id": "1",
                "ce-source": "/",
                "ce-type": "t",
                "ce-time": "2026-01-01T00:00:00",
            },
            b"",
            "has no offset",
        ),
        ({"ce-specversion": "1.0", "ce-id": "", "ce-source": "/", "ce-type": "t"}, b"", "isn't empty"),
    ],
)
def test_what_is_no_cloudevent_is_told(headers: dict[str, str], body: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        from_message(headers, body)


@pytest.mark.parametrize("name", ["Upper", "with-dash", "", "data", "id", "specversion"])
def test_names_that_no_extension_may_have(name: str) -> None:
    with pytest.raises(ArgumentError, match="names are of a-z and 0-9"):
        CloudEvent(id="1", source="/", type="t", extensions={name: "x"})


def test_what_cannot_be_written_is_told() -> None:
    with pytest.raises(ArgumentError, match="has no time zone"):
        cloudevent(EVENTS[0], source="/", time=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ArgumentError, match="isn't JSON"):
        cloudevent(OrderSettled("a", [], object()), source="/")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="data isn't the JSON that it says"):
        CloudEvent(id="1", source="/", type="t", data=b"{").structured()
    with pytest.raises(ArgumentError, match="binding='smoke': known: http, kafka, amqp"):
        EVENT.binary("smoke")  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match="its data is text/plain, not JSON"):
        CloudEvent(id="1", source="/", type="t", datacontenttype="text/plain").load(First)
