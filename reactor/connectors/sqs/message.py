"""How an event is a message of SQS, and back.

The body is the event's data. All headers, those of CloudEvents among them, are one attribute, a JSON object: SQS
takes no more than ten attributes. A body is text that XML could hold; other bytes are base64, which a second
attribute tells.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from reactor.connectors.brokers import Delivery, Wire
from reactor.connectors.log import Entry

HEADERS = "reactor-headers"
ENCODING = "reactor-encoding"
_EMPTY = "-"
"""The body of an event without data: SQS has no empty ones."""

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[!-~]{1,128}")
"""What SQS takes as the id of a message group, and of a message to recognize."""
_HEADERS = msgspec.json.Decoder(dict[str, str])
_JSON = msgspec.json.Encoder()


class Outgoing(NamedTuple):
    """A message to be sent."""

    entry: dict[str, Any]
    """What ``SendMessageBatch`` takes, without its Id."""
    group: str
    """Its message group; empty at a queue that has none."""
    size: int
    """Bytes as SQS counts them: the body, and each attribute's name, type and value."""


class Messages:
    """Writes and reads the messages of one queue."""

    def __init__(self, topic: str, *, fifo: bool, message_group: str | None) -> None:
        self._wire = Wire(topic)
        self._fifo = fifo
        self._group = message_group

    def write(self, entry: Entry) -> Outgoing:
        id = self._wire.id_of(entry)
        headers = _JSON.encode(self._wire.headers(entry, id=id)).decode()
        if not headers.isascii():
            headers = json.dumps(msgspec.json.decode(headers))
        body, encoding = _text(entry[5])
        attributes = {HEADERS: {"DataType": "String", "StringValue": headers}}
        size = len(body) if body.isascii() else len(body.encode())
        size += len(HEADERS) + len("String") + len(headers)
        if encoding is not None:
            attributes[ENCODING] = {"DataType": "String", "StringValue": encoding}
            size += len(ENCODING) + len("String") + len(encoding)
        message: dict[str, Any] = {"MessageBody": body, "MessageAttributes": attributes}
        if not self._fifo:
            return Outgoing(message, "", size)
        key = entry[2]
        group = _name(key if key is not None else self._group if self._group is not None else id)
        message["MessageGroupId"] = group
        message["MessageDeduplicationId"] = _name(id)
        return Outgoing(message, group, size)

    def read(self, message: Mapping[str, Any], token: Any) -> Delivery:
        """Take a message apart; one that isn't ours is its body, and its attributes are headers."""
        attributes: Mapping[str, Any] = message.get("MessageAttributes") or {}
        system: Mapping[str, str] = message.get("Attributes") or {}
        body: str = message["Body"]
        data: bytes | None = None
        headers: dict[str, str] | None = None
        ours = attributes.get(HEADERS)
        if ours is not None:
            try:
                headers = _HEADERS.decode(ours["StringValue"])
                data = _bytes(body, (attributes.get(ENCODING) or {}).get("StringValue"))
            except (msgspec.MsgspecError, binascii.Error, KeyError, ValueError):
                headers = data = None
        if headers is None or data is None:
            headers, data = _attributes(attributes), body.encode()
        told = self._wire.read(headers, data)
        key = told.key
        if key is None and ours is None:
            key = system.get("MessageGroupId")
        time = told.time
        if time is None:
            time = int(system.get("SentTimestamp", "0")) * 1000
        return Delivery(message["MessageId"], told.type, key, told.headers, time, told.data, token)


def _text(data: bytes) -> tuple[str, str | None]:
    if not data:
        return _EMPTY, "empty"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _ILLEGAL.search(text):
        return base64.b64encode(data).decode(), "base64"
    return text, None


def _bytes(body: str, encoding: str | None) -> bytes:
    if encoding == "base64":
        return base64.b64decode(body, validate=True)
    return b"" if encoding == "empty" else body.encode()


def _attributes(attributes: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in attributes.items():
        text = value.get("StringValue")
        if text is None:
            binary: bytes = value.get("BinaryValue", b"")
            text = base64.b64encode(binary).decode()
        found[name] = text
    return found


def _name(text: str) -> str:
    """Return the text where SQS takes it as an id, else its digest."""
    if _NAME.fullmatch(text):
        return text
    return "sha256-" + hashlib.sha256(text.encode()).hexdigest()
