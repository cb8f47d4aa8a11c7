"""Codecs: chunks of events as payloads and back, in JSON, MessagePack, Avro and Protobuf."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from reactor.contracts.avro import avro_schema
from reactor.contracts.declared import contract_of
from reactor.contracts.direct import plain
from reactor.contracts.errors import ContractError, mismatch
from reactor.contracts.messages import Line
from reactor.contracts.protobuf import Messages
from reactor.contracts.schemas import KEYS, json_schema
from reactor.core import ArgumentError, MissingExtra

T = TypeVar("T")


class PayloadCodec(Generic[T]):
    """Payloads of one type. What can't be encoded raises ArgumentError, what doesn't fit a ContractError.

    Both name the number of the event in the chunk; nothing of the chunk is returned then.
    """

    content_type: ClassVar[str]

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self.contract = contract_of(kind)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.contract.name})"

    def encode(self, events: Sequence[T]) -> list[bytes]:
        """Return the payloads of events."""
        encode = self._encoder()
        try:
            return [encode(event) for event in events]
        except Exception:
            problem = self._unsaid(events, encode)
            raise problem from problem.__cause__

    def decode(self, payloads: Sequence[bytes], version: int | None = None) -> list[T]:
        """Return the events of payloads; upcasters bring on those of another than the current version."""
        contract = self.contract
        decode = self._decoder()
        if version is not None and version != contract.version:
            plain = self._plain()
            decode = lambda data: contract.load(plain(data), version)  # noqa: E731
        try:
            return [decode(payload) for payload in payloads]
        except Exception:
            problem = self._unfit(payloads, decode, version)
            raise problem from problem.__cause__

    def _encoder(self) -> Callable[[T], bytes]:
        raise NotImplementedError

    def _decoder(self) -> Callable[[bytes], T]:
        raise NotImplementedError

    def _plain(self) -> Callable[[bytes], Any]:
        raise NotImplementedError

    # A chunk is looked at one by one only once something is wrong.

    def _unsaid(self, events: Sequence[T], encode: Callable[[T], bytes]) -> Exception:
        for n, event in enumerate(events):
            try:
                encode(event)
            except Exception as error:
                problem = ArgumentError(f"{self!r}: event {n}: can't be encoded: {error}")
                problem.__cause__ = error
                return problem
        raise AssertionError("a chunk failed whose events don't")

    def _unfit(
        self, payloads: Sequence[bytes], decode: Callable[[bytes], T], version: int | None
    ) -> Exception:
        for n, payload in enumerate(payloads):
            try:
                decode(payload)
            except ContractError as error:
                return error.located(f"payload {n}")
            except Exception as error:
                return mismatch(error, self.contract.name, version or self.contract.version).located(
                    f"payload {n}"
                )
        raise AssertionError("a chunk failed whose payloads don't")


class Json(PayloadCodec[T]):
    """JSON, read straight from bytes to the type."""

    content_type = "application/json"

    def __init__(self, kind: type[T]) -> None:
        super().__init__(kind)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(kind).decode

    def _encoder(self) -> Callable[[T], bytes]:
        return self._encode

    def _decoder(self) -> Callable[[bytes], T]:
        return self._decode

    def _plain(self) -> Callable[[bytes], Any]:
        return msgspec.json.decode


class MessagePack(PayloadCodec[T]):
    """MessagePack, read straight from bytes to the type."""

    content_type = "application/msgpack"

    def __init__(self, kind: type[T]) -> None:
        super().__init__(kind)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def _encoder(self) -> Callable[[T], bytes]:
        return self._encode

    def _decoder(self) -> Callable[[bytes], T]:
        return self._decode

    def _plain(self) -> Callable[[bytes], Any]:
        return msgspec.msgpack.decode


class Avro(PayloadCodec[T]):
    """Avro without a header; ``writer`` is the schema that payloads were written with, where it is another.

    Needs the extra ``avro``.
    """

    content_type = "avro/binary"

    def __init__(self, kind: type[T], writer: dict[str, Any] | None = None) -> None:
        super().__init__(kind)
        try:
            import fastavro
        except ImportError:
            raise MissingExtra("Avro", "avro") from None
        self.schema = avro_schema(kind)
        self._parsed = fastavro.parse_schema(self.schema)
        self._writer = None if writer is None else fastavro.parse_schema(writer)
        self._keys = _has_keys(kind)
        self._write = fastavro.schemaless_writer
        self._read = fastavro.schemaless_reader

    def _encoder(self) -> Callable[[T], bytes]:
        write, parsed, plain_of = self._write, self._parsed, msgspec.to_builtins

        def encode(event: T) -> bytes:
            plain = plain_of(event, builtin_types=(bytes, datetime, date, time), str_keys=True)
            out = io.BytesIO()
            write(out, parsed, plain)
            return out.getvalue()

        return encode

    def _decoder(self) -> Callable[[bytes], T]:
        read, kind, parsed = self._read, self.kind, self._parsed
        writer = parsed if self._writer is None else self._writer
        reader = None if self._writer is None else parsed
        keys, converted = self._keys, msgspec.convert
        return lambda data: converted(read(io.BytesIO(data), writer, reader), kind, str_keys=keys)

    def _plain(self) -> Callable[[bytes], Any]:
        if self._writer is None:
            raise ArgumentError(
                f"{self!r}: an older version is read with the schema that it was written with; "
                f"pass Avro({self.kind.__name__}, writer=...)"
            )
        read, writer = self._read, self._writer
        return lambda data: msgspec.to_builtins(read(io.BytesIO(data), writer, None))


class Protobuf(PayloadCodec[T]):
    """Protobuf: the messages of ``protobuf_schema``, made while it runs. Needs the extra ``protobuf``.

    Another version is read by Protobuf's own rules: by the numbers of its fields.
    """

    content_type = "application/protobuf"

    def __init__(self, kind: type[T], package: str = "events") -> None:
        super().__init__(kind)
        messages = Messages(package)
        message = messages.add(kind)
        self._keys = _has_keys(kind)
        self._to, self._back = messages.converters(message)
        keys, converted = self._keys, msgspec.convert
        self._take, self._make = messages.direct(
            message, lambda value, kind: converted(value, kind, str_keys=keys)
        )
        self.proto = messages.proto()
        """The .proto file, for others."""
        self.tags = {name: one.tag for name, one in messages.found.items() if one.tag is not None}
        """By the name of a message, the field and value that tell its struct from others."""
        self._class = _classes(messages)[message.name]

    def _encoder(self) -> Callable[[T], bytes]:
        made, take, to = self._class, self._take, self._to

        def encode(event: T) -> bytes:
            try:
                return made(**take(event)).SerializeToString()  # type: ignore[no-any-return]
            except Exception:  # the long way tells what is wrong, if anything is
                return made(**to(plain(event))).SerializeToString()  # type: ignore[no-any-return]

        return encode

    def _decoder(self) -> Callable[[bytes], T]:
        read, back, kind = self._class.FromString, self._back, self.kind
        keys, converted, make = self._keys, msgspec.convert, self._make

        def decode(data: bytes) -> T:
            message = read(data)
            try:
                return make(message)  # type: ignore[no-any-return]
            except Exception:  # the long way tells what is wrong, if anything is
                return converted(back(message), kind, str_keys=keys)

        return decode

    def _plain(self) -> Callable[[bytes], Any]:
        read, back = self._class.FromString, self._back
        return lambda data: back(read(data))


def _has_keys(kind: type[Any]) -> bool:
    """Whether it has dicts whose keys are no texts, which takes longer to read."""
    return KEYS.encode() in msgspec.json.encode(json_schema(kind))


def _classes(messages: Messages) -> dict[str, Any]:
    """Make the classes of messages; each call has a pool of its own, so that names don't clash."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
    except ImportError:
        raise MissingExtra("Protobuf", "protobuf") from None
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    file: Any = descriptor_pb2.FileDescriptorProto(
        name=f"{messages.package}.proto",
        package=messages.package,
        syntax="proto3",
    )
    if any(line.type.startswith("google.") for message in messages.found.values() for line in message.lines):
        file.dependency.append("google/protobuf/timestamp.proto")
    for message in messages.found.values():
        made = file.message_type.add(name=message.name)
        oneofs: dict[str, int] = {}
        alone: list[Any] = []
        for line in message.lines:
            described = _described(line, made, messages.package)
            if line.oneof:
                if line.oneof not in oneofs:
                    oneofs[line.oneof] = len(oneofs)
                    made.oneof_decl.add(name=line.oneof)
                described.oneof_index = oneofs[line.oneof]
            elif line.label == "optional":
                alone.append(described)
        for described in alone:  # an optional scalar is a oneof of one, and these come last
            described.proto3_optional = True
            described.oneof_index = len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{described.name}")
    pool.AddSerializedFile(file.SerializeToString())
    names = messages.found
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{messages.package}.{name}")) for name in names}


_TYPES = {"double": 1, "int64": 3, "bool": 8, "string": 9, "bytes": 12}
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3


def _described(line: Line, made: Any, package: str) -> Any:
    """Add the descriptor of one field."""
    field = made.field.add(name=line.name, number=line.number, label=_OPTIONAL)
    if line.label == "map":
        entry = "".join(part.capitalize() for part in line.name.split("_")) + "Entry"
        nested = made.nested_type.add(name=entry)
        nested.options.map_entry = True
        _typed(nested.field.add(name="key", number=1, label=_OPTIONAL), line.key, package)
        _typed(nested.field.add(name="value", number=2, label=_OPTIONAL), line.type, package)
        field.label = _REPEATED
        _typed(field, f"{made.name}.{entry}", package)
        return field
    if line.label == "repeated":
        field.label = _REPEATED
    _typed(field, line.type, package)
    return field


def _typed(field: Any, name: str, package: str) -> None:
    number = _TYPES.get(name)
    if number is not None:
        field.type = number
    else:
        field.type = _MESSAGE
        field.type_name = f".{name}" if name.startswith("google.") else f".{package}.{name}"
