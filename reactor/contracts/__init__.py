"""What bytes mean: names and versions of events, upcasters, schemas, CloudEvents."""

from reactor.contracts.asyncapi import Channel, as_json, asyncapi, channels_in
from reactor.contracts.avro import avro_schema
from reactor.contracts.checking import Problem, check, contracts_in, current
from reactor.contracts.cloudevents import (
    PREFIXES,
    STRUCTURED,
    VERSION_EXTENSION,
    Binding,
    CloudEvent,
    Message,
    cloudevent,
    from_message,
)
from reactor.contracts.codecs import Avro, Json, MessagePack, PayloadCodec, Protobuf
from reactor.contracts.compatible import Compatibility, Finding, Mode, compatible, reads
from reactor.contracts.declared import Contract, Upcaster, contract_of, event, newest, upcast
from reactor.contracts.errors import (
    ContractError,
    MissingUpcaster,
    NewerVersion,
    PayloadMismatch,
    UnknownType,
    UpcastFailed,
    mismatch,
    titled,
)
from reactor.contracts.protobuf import protobuf_schema
from reactor.contracts.reading import VERSION, Decoders, decode, dump, load, loader, tag, version_in
from reactor.contracts.schemas import DIALECT, Schema, catalogue, json_schema

__all__ = [
    # declared
    "event",
    "upcast",
    "Contract",
    "Upcaster",
    "contract_of",
    "newest",
    # read
    "decode",
    "Decoders",
    "VERSION",
    "version_in",
    # state
    "tag",
    "dump",
    "load",
    "loader",
    # compared
    "compatible",
    "reads",
    "check",
    "contracts_in",
    "current",
    "Compatibility",
    "Finding",
    "Problem",
    "Mode",
    # exported
    "json_schema",
    "catalogue",
    "DIALECT",
    "Schema",
    "avro_schema",
    "protobuf_schema",
    "asyncapi",
    "Channel",
    "channels_in",
    "as_json",
    # payloads
    "Json",
    "MessagePack",
    "Avro",
    "Protobuf",
    "PayloadCodec",
    # CloudEvents
    "CloudEvent",
    "cloudevent",
    "from_message",
    "Message",
    "Binding",
    "PREFIXES",
    "STRUCTURED",
    "VERSION_EXTENSION",
    # errors
    "ContractError",
    "MissingUpcaster",
    "NewerVersion",
    "PayloadMismatch",
    "UnknownType",
    "UpcastFailed",
    "mismatch",
    "titled",
]
