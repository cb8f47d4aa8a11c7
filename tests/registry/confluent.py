"""Confluent's own client of registries, and what it writes and reads; blocking."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it imports
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
    from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

from reactor.contracts import Protobuf
from reactor.registry import schema_of


def message_class(kind: type[Any]) -> Any:
    return Protobuf(kind)._class


@contextmanager
def client(url: str) -> Iterator[Any]:
    theirs = SchemaRegistryClient({"url": url})
    try:
        yield theirs
    finally:
        theirs._rest_client.session.close()


def write(url: str, topic: str, kind: type[Any], format: str, event: Any) -> bytes:
    """Write an event, given as plain values (a message for Protobuf)."""
    with client(url) as theirs, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        serializer: Any
        match format:
            case "avro":
                serializer = AvroSerializer(theirs, schema_of(kind, "avro").text)
            case "json":
                serializer = JSONSerializer(schema_of(kind, "json").text, theirs)
            case _:
                serializer = ProtobufSerializer(type(event), theirs, {"use.deprecated.format": False})
        data: bytes = serializer(event, SerializationContext(topic, MessageField.VALUE))
    return data


def read(url: str, topic: str, kind: type[Any], format: str, data: bytes) -> Any:
    with client(url) as theirs, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        deserializer: Any
        match format:
            case "avro":
                deserializer = AvroDeserializer(theirs)
            case "json":
                deserializer = JSONDeserializer(None, schema_registry_client=theirs)
            case _:
                settings = {"use.deprecated.format": False}
                deserializer = ProtobufDeserializer(message_class(kind), settings, theirs)
        return deserializer(data, SerializationContext(topic, MessageField.VALUE))
