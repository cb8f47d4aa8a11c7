"""CloudEvents 1.0: events as headers and bytes, in binary and in structured mode (JSON).

https://github.com/cloudevents/spec, version 1.0.2, with its bindings of HTTP, Kafka and AMQP.
"""

from __future__ import annotations

import base64
import builtins
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import msgspec

from reactor.contracts.declared import contract_of
from reactor.contracts.reading import decode
from reactor.core import ArgumentError, DecodeError

T = TypeVar("T")

Binding = Literal["http", "kafka", "amqp"]
"""How binary mode writes attributes: ``ce-id`` (NATS and Pub/Sub, too), ``ce_id``, ``cloudEvents:id``."""

STRUCTURED = "application/cloudevents+json"
VERSION_EXTENSION = "reactorversion"
"""The extension that tells a contract's version where it isn't 1."""

PREFIXES: dict[Binding, str] = {"http": "ce-", "kafka": "ce_", "amqp": "cloudEvents:"}
_NAME = re.compile(r"[a-z0-9]+")
_JSON = re.compile(r"[^/]+/(?:[^;]*\+)?json(?:\s*;.*)?", re.IGNORECASE)
# HTTP binding, 3.1.3.2: all that is printable ASCII stands for itself, without space, double quote and percent.
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWN = ("id", "source", "type", "subject", "dataschema", "datacontenttype")


class Message(NamedTuple):
    """What goes over the wire."""

    headers: dict[str, str]
    body: bytes


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with the attributes of CloudEvents; ``time`` is integer microseconds since the epoch.

    ``data`` are the bytes of the payload, None where there is none. Raises ArgumentError for attributes that the
    specification doesn't allow.
    """

    id: str
    source: str
    type: str
    subject: str | None = None
    time: int | None = None
    dataschema: str | None = None
    datacontenttype: str | None = None
    extensions: Mapping[str, str] = {}
    data: bytes | None = None

    def __post_init__(self) -> None:
        for name in _OWN:
            value = getattr(self, name)
            if value == "" or (value is None and name in ("id", "source", "type")):
                raise ArgumentError(f"CloudEvent({name}={value!r}): a text that isn't empty")
        for name in self.extensions:
            if not _NAME.fullmatch(name) or name in (*_OWN, "specversion", "time", "data"):
                raise ArgumentError(
                    f"CloudEvent(extensions={{{name!r}: ...}}): names are of a-z and 0-9, and no attribute's"
                )

    @property
    def traceparent(self) -> str | None:
        """The extension of distributed tracing: W3C's ``traceparent``."""
        return self.extensions.get("traceparent")

    @property
    def version(self) -> int:
        """The version of the contract that ``type`` names."""
        text = self.extensions.get(VERSION_EXTENSION, "1")
        return int(text) if text.isascii() and text.isdecimal() else 1

    def load(self, wanted: builtins.type[T] | Iterable[Any]) -> T:
        """Return its data as one of the ``wanted`` types, by contract and version; it has to be JSON.

        Raises a ContractError, and DecodeError for data that isn't JSON.
        """
        if not _is_json(self.datacontenttype):
            raise DecodeError(f"{self.type} {self.id}: its data is {self.datacontenttype}, not JSON")
        return decode(self.data or b"", self.type, self.version, wanted)

    # Out ----------------------------------------------------------------------------------------------------

    def binary(self, binding: Binding = "http") -> Message:
        """Return it with its attributes as headers and its data as the body."""
        prefix = _prefix(binding)
        headers = {f"{prefix}{name}": _written(value, binding) for name, value in self._attributes()}
        if self.datacontenttype is not None:
            del headers[f"{prefix}datacontenttype"]
            headers["content-type"] = self.datacontenttype
        return Message(headers, self.data or b"")

    def structured(self) -> Message:
        """Return it as one JSON document. Data that says to be JSON and isn't raises ArgumentError."""
        document: dict[str, Any] = dict(self._attributes())
        if self.data is not None and _is_json(self.datacontenttype):
            try:
                document["data"] = msgspec.json.decode(self.data)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ArgumentError(
                    f"CloudEvent {self.id}: data isn't the JSON that it says: {error}"
                ) from error
        elif self.data is not None:
            document["data_base64"] = base64.b64encode(self.data).decode()
        return Message({"content-type": STRUCTURED}, msgspec.json.encode(document))

    def _attributes(self) -> Iterable[tuple[str, str]]:
        yield "specversion", "1.0"
        for name in _OWN:
            value = getattr(self, name)
            if value is not None:
                yield name, value
        if self.time is not None:
            yield "time", (_EPOCH + timedelta(microseconds=self.time)).isoformat().replace("+00:00", "Z")
        yield from self.extensions.items()


def cloudevent(
    event: object,
    *,
    source: str,
    id: str | None = None,
    subject: str | None = None,
    time: datetime | int | None = None,
    dataschema: str | None = None,
    traceparent: str | None = None,
    extensions: Mapping[str, str] | None = None,
) -> CloudEvent:
    """Return an event of a contract as a CloudEvent: its type is the contract's name, its data JSON.

    Without ``id`` it has a new one. ``time`` is an aware datetime, or microseconds since the epoch.
    """
    contract = contract_of(type(event))
    more = dict(extensions or {})
    if contract.version != 1:
        more[VERSION_EXTENSION] = str(contract.version)
    if traceparent is not None:
        more["traceparent"] = traceparent
    if isinstance(time, datetime):
        if time.utcoffset() is None:
            raise ArgumentError(f"cloudevent(time={time!r}): has no time zone; pass an aware datetime")
        time = (time - _EPOCH) // timedelta(microseconds=1)
    try:
        data = msgspec.json.encode(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"cloudevent({contract.name}): isn't JSON: {error}") from error
    return CloudEvent(
        id=str(uuid.uuid4()) if id is None else id,
        source=source,
        type=contract.name,
        subject=subject,
        time=time,
        dataschema=dataschema,
        datacontenttype="application/json",
        extensions=more,
        data=data,
    )


# In -------------------------------------------------------------------------------------------------------------


def from_message(headers: Mapping[str, str], body: bytes, binding: Binding = "http") -> CloudEvent:
    """Return the CloudEvent of a message in either mode; the ``content-type`` tells which.

    Raises DecodeError for what isn't one, and for batches.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    kind = lower.get("content-type", "")
    media = kind.partition(";")[0].strip().lower()
    if media == STRUCTURED:
        return _structured(body)
    if media.startswith("application/cloudevents"):
        raise DecodeError(f"CloudEvent: {media} can't be read; send {STRUCTURED}, one event a message")
    prefix = _prefix(binding).lower()
    attributes: dict[str, Any] = {
        name[len(prefix) :]: unquote(value) if binding == "http" else value
        for name, value in lower.items()
        if name.startswith(prefix)
    }
    if "specversion" not in attributes:
        raise DecodeError(
            f"CloudEvent: has neither the header {prefix}specversion nor the content type {STRUCTURED}"
        )
    if kind:
        attributes["datacontenttype"] = kind
    return _made(attributes, body or None)


def _structured(body: bytes) -> CloudEvent:
    try:
        document = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        data = document.pop("data", None)
        packed = document.pop("data_base64", None)
        attributes = {name: msgspec.json.decode(raw) for name, raw in document.items()}
        payload = None if data is None else bytes(data)
        if packed is not None:
            payload = base64.b64decode(msgspec.json.decode(packed, type=str), validate=True)
        elif payload is not None and not _is_json(attributes.get("datacontenttype")) and payload[:1] == b'"':
            payload = msgspec.json.decode(payload, type=str).encode()
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise DecodeError(f"CloudEvent: isn't a CloudEvent in JSON: {error}") from error
    return _made(attributes, payload)


def _made(attributes: dict[str, Any], data: bytes | None) -> CloudEvent:
    version = attributes.pop("specversion", None)
    if version != "1.0":
        raise DecodeError(f"CloudEvent: specversion is {version!r}; 1.0 can be read")
    time = attributes.pop("time", None)
    own = {name: attributes.pop(name) for name in _OWN if name in attributes}
    texts = {name: _canonical(value) for name, value in attributes.items() if value is not None}
    try:
        at = None if time is None else msgspec.convert(time, datetime)
        if at is not None and at.utcoffset() is None:
            raise ValueError(f"time {time!r} has no offset")
        micros = None if at is None else (at - _EPOCH) // timedelta(microseconds=1)
        fields = {"extensions": texts, "time": micros, "data": data, **own}
        return msgspec.convert(fields, CloudEvent, builtin_types=(bytes,))
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(f"CloudEvent: {error}") from error


def _canonical(value: Any) -> str:
    """A value of an extension as text: JSON has numbers and booleans, too."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _is_json(content: str | None) -> bool:
    return content is None or _JSON.fullmatch(content) is not None


def _prefix(binding: Binding) -> str:
    prefix = PREFIXES.get(binding)
    if prefix is None:
        raise ArgumentError(f"binding={binding!r}: known: {', '.join(PREFIXES)}")
    return prefix


def _written(value: str, binding: Binding) -> str:
    # Elsewhere than in HTTP headers are UTF-8, as they are.
    return quote(value, safe=_PRINTABLE) if binding == "http" else value
