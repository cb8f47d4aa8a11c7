"""Payloads in the wire format of a registry: written with a registered schema, read with the writer's."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

import anyio

from reactor.contracts import Avro, ContractError, Json, PayloadCodec, Protobuf, mismatch
from reactor.core import ArgumentError, ReactorError
from reactor.registry.canon import whole
from reactor.registry.client import Registry, Unreachable
from reactor.registry.descriptors import message_at, message_class, name_of, plain_of
from reactor.registry.errors import SchemaMissing
from reactor.registry.proto import descriptor
from reactor.registry.rules.protobuf import unlike
from reactor.registry.schemas import Format, SchemaText, format_of, schema_of, told
from reactor.registry.wire import HEAD, head, id_of, indexes_of

T = TypeVar("T")

_log = logging.getLogger("reactor.registry")

Read = Callable[[bytes], Any]
_KINDS: dict[Format, type[PayloadCodec[Any]]] = {"AVRO": Avro, "JSON": Json, "PROTOBUF": Protobuf}
MOST = 1000
"""Writers' schemas that a codec keeps ready."""


AGAIN = 30.0
"""Seconds after which a schema that the registry hadn't got is asked for again."""
LONGEST = 30.0
"""Seconds between two tries to reach a registry, at most."""


class UnknownWriter(ReactorError):
    """A payload was written with a schema that hasn't been fetched yet: await ``learn``, and try again."""

    def __init__(self, id: int, codec: RegisteredCodec[Any]) -> None:
        super().__init__(f"schema {id} hasn't been fetched from the registry {codec.registry.url}")
        self.id = id
        self._codec = codec

    async def learn(self) -> None:
        """Fetch it; where the registry can't be reached, again and again, with growing pauses."""
        pause = 0.1
        while True:
            try:
                return await self._codec.learn(self.id)
            except Unreachable as error:
                _log.warning("%s; it is asked again in %g s", error, pause)
                await anyio.sleep(pause)
                pause = min(pause * 2, LONGEST)


class RegisteredCodec(PayloadCodec[T]):
    """Events of one contract as payloads that begin with the id of their schema, as Confluent's serializers write.

    The registry may be open, or is opened when it is needed: once for each schema.
    ``open`` registers the contract's schema under ``subject``, which writing needs; ``register=False`` only looks
    it up. What was written with another schema is brought to the current version: by upcasters where it is an
    older version of the contract, else as its format does it (schema resolution, numbers of fields).
    """

    def __init__(
        self,
        kind: type[T],
        registry: Registry,
        subject: str,
        format: Literal["avro", "json", "protobuf"] = "avro",
        *,
        register: bool = True,
    ) -> None:
        super().__init__(kind)
        self.registry = registry
        self.subject = subject
        self.format = format_of(format)
        self.schema = schema_of(kind, format)
        self.id: int | None = None
        """Of the contract's schema, once it is open."""
        self._register = register
        self._codecs: dict[Format, PayloadCodec[T]] = {}
        self._own = self._of(self.format)
        self._writers: dict[int, SchemaText] = {}
        self._missing: dict[int, float] = {}
        """Ids that the registry hadn't got, and when that was (monotonic seconds)."""
        self._readers: dict[int | None, dict[int, Read]] = {}
        """By the version that the reader was told, and the id."""

    def _of(self, format: Format) -> PayloadCodec[T]:
        codec = self._codecs.get(format)
        if codec is None:
            codec = self._codecs[format] = _KINDS[format](self.kind)
        return codec

    async def open(self) -> None:
        """Get the id of the contract's schema. Raises RegistryError, SchemaIncompatible, SchemaMissing."""
        if self.id is None:
            async with self._asked() as registry:
                if self._register:
                    self.id = await registry.register(self.subject, self.schema)
                else:
                    self.id = (await registry.look_up(self.subject, self.schema)).id

    async def read(self, payloads: Sequence[bytes], version: int | None = None) -> list[T]:
        """Return the events of payloads, as ``decode`` does; the schemas that it needs are fetched."""
        while True:
            try:
                return self.decode(payloads, version)
            except UnknownWriter as lacking:
                await self.learn(lacking.id)

    async def learn(self, id: int) -> None:
        """Fetch the schema of a writer. One that the registry hasn't got makes its payloads misfits."""
        try:
            async with self._asked() as registry:
                schema = await registry.schema(id)
                if schema.references and schema.format == "AVRO":
                    schema = whole(schema, await self._others(registry, schema))
        except SchemaMissing:
            if len(self._missing) >= MOST:
                self._missing.clear()
            self._missing[id] = time.monotonic()
            return
        self._missing.pop(id, None)
        if len(self._writers) >= MOST:
            oldest = next(iter(self._writers))
            del self._writers[oldest]
            for readers in self._readers.values():
                readers.pop(oldest, None)
        self._writers[id] = schema

    @asynccontextmanager
    async def _asked(self) -> AsyncGenerator[Registry, None]:
        """The registry, opened for as long as it takes where it isn't open."""
        if self.registry.opened:
            yield self.registry
        else:
            async with self.registry.again() as registry:
                yield registry

    async def _others(self, registry: Registry, schema: SchemaText) -> list[str]:
        found: list[str] = []
        for one in schema.references:
            other = (await registry.version(one.subject, one.version)).schema
            found += [*await self._others(registry, other), other.text]
        return found

    # Writing ------------------------------------------------------------------------------------------------

    def encoder(self) -> Callable[[T], bytes]:
        """Return what encodes one event, once it is open; raises ArgumentError for what can't be encoded."""
        encode = self._encoder()

        def encoded(event: T) -> bytes:
            try:
                return encode(event)
            except Exception as error:  # each format has errors of its own
                raise ArgumentError(f"{self!r}: can't be encoded: {error}") from error

        return encoded

    def _encoder(self) -> Callable[[T], bytes]:
        if self.id is None:
            raise ReactorError(f"{self!r}: isn't open; await open() before it encodes")
        before = head(self.id, (0,) if self.format == "PROTOBUF" else None)
        encode = self._own._encoder()
        return lambda event: before + encode(event)

    def encode(self, events: Sequence[T]) -> list[bytes]:
        self._encoder()  # tells it where it isn't open
        return super().encode(events)

    # Reading ------------------------------------------------------------------------------------------------

    def decode(self, payloads: Sequence[bytes], version: int | None = None) -> list[T]:
        """Return the events; ``version`` is for Protobuf, whose schemas don't tell it. Raises UnknownWriter."""
        decode = self.decoder(version)
        try:
            return [decode(payload) for payload in payloads]
        except UnknownWriter:
            raise
        except Exception:
            problem = self._unfit(payloads, decode, version)
            raise problem from problem.__cause__

    def decoder(self, version: int | None = None) -> Callable[[bytes], T]:
        """Return what decodes one payload; raises UnknownWriter, and a ContractError for what doesn't fit."""
        readers = self._readers.setdefault(version, {})
        make = self._reader

        def decode(data: bytes) -> T:
            if data[:1] != b"\0" or len(data) < HEAD:
                raise self._misfit(_framing(data), version)
            id = int.from_bytes(data[1:HEAD], "big")
            read = readers.get(id)
            if read is None:
                read = readers[id] = make(id, version)
            event: T = read(data)
            return event

        return decode

    def _decoder(self) -> Callable[[bytes], T]:
        return self.decoder()

    def _misfit(self, error: Exception, version: int | None) -> ContractError:
        return mismatch(error, self.contract.name, version or self.contract.version)

    def _reader(self, id: int, version: int | None) -> Read:
        """Make what reads the payloads of one writer."""
        schema = self._writers.get(id)
        contract = self.contract
        if schema is None:
            if time.monotonic() - self._missing.get(id, -AGAIN) >= AGAIN:
                raise UnknownWriter(id, self)
            what = f"its schema {id} isn't in the registry {self.registry.url}; is it another's?"
            raise self._misfit(ValueError(what), version)
        try:
            name, its = told(schema)
            if its is None or name not in contract.names:
                its = version if schema.format == "PROTOBUF" else None
            current = its is None or its == contract.version
            if its is not None and its > contract.version:
                number = its
                return lambda data: contract.load(None, number)  # raises NewerVersion
            read = self._read(schema, plain=not current)
        except Exception as error:  # a schema that can't be understood makes all of its payloads misfits
            problem = ValueError(f"schema {id}: {error}")
            return _raising(lambda: self._misfit(problem, version))
        older = contract.version if its is None else its

        def guarded(data: bytes) -> Any:
            try:
                return read(data) if current else contract.load(read(data), older)
            except ContractError:
                raise
            except Exception as error:  # each format has errors of its own
                raise mismatch(error, contract.name, older) from error

        return guarded

    def _read(self, schema: SchemaText, *, plain: bool) -> Read:
        match schema.format:
            case "AVRO":
                same = schema.text == self.schema.text and self.format == "AVRO"
                avro = self._of("AVRO") if same else Avro(self.kind, writer=json.loads(schema.text))
                read = avro._plain() if plain else avro._decoder()
                return lambda data: read(data[HEAD:])
            case "JSON":
                read = self._of("JSON")._plain() if plain else self._of("JSON")._decoder()
                return lambda data: read(data[HEAD:])
            case "PROTOBUF":
                return self._protobuf(schema, plain)

    def _protobuf(self, schema: SchemaText, plain: bool) -> Read:
        file = descriptor(schema.text)
        direct = self._of("PROTOBUF")
        assert isinstance(direct, Protobuf)
        ours, tags = descriptor(direct.proto), direct.tags
        of_message: dict[tuple[int, ...], Read] = {}

        def reader(indexes: tuple[int, ...]) -> Read:
            name = message_at(file, indexes)
            short = name.rpartition(".")[2]
            known = [name_of(one) for one in self.contract.names]
            if short not in known:
                raise ValueError(f"is a message {name}, not {known[0]}")
            if plain:
                read = message_class(file, name).FromString
                return lambda data: plain_of(read(data), tags)
            for finding in unlike(file, name, ours, known[0]):
                raise ValueError(f"{finding.what} - at `{finding.path}`")
            return direct._decoder()

        def read(data: bytes) -> Any:
            indexes, at = indexes_of(data)
            found = of_message.get(indexes)
            if found is None:
                found = of_message[indexes] = reader(indexes)
            return found(data[at:])

        return read


def _framing(data: bytes) -> Exception:
    try:
        id_of(data)
    except ValueError as error:
        return error
    raise AssertionError("a payload was refused that is framed")


def _raising(error: Callable[[], Exception]) -> Read:
    def read(data: bytes) -> Any:
        raise error()

    return read
