"""Schema registries: a client of Confluent's protocol, payloads in its wire format, a registry to develop with.

``schemas`` are what is registered, ``client`` asks a registry, ``wire`` and ``codec`` have the payloads, which
topics take by ``option``; ``rules`` compare versions. The embedded registry is ``store`` (SQLite), ``app`` (HTTP)
and ``serving``.
"""

from reactor.registry.client import Registry, Unreachable
from reactor.registry.codec import RegisteredCodec, UnknownWriter
from reactor.registry.errors import RegistryError, SchemaIncompatible, SchemaMissing
from reactor.registry.option import Registered
from reactor.registry.rules import LEVELS, Clash, Level, clashes
from reactor.registry.schemas import Reference, SchemaText, SubjectVersion, schema_of
from reactor.registry.serving import serve, serve_until_stopped

__all__ = [
    "LEVELS",
    "Clash",
    "Level",
    "Reference",
    "Registered",
    "RegisteredCodec",
    "SubjectVersion",
    "Registry",
    "RegistryError",
    "SchemaIncompatible",
    "SchemaMissing",
    "SchemaText",
    "UnknownWriter",
    "Unreachable",
    "clashes",
    "schema_of",
    "serve",
    "serve_until_stopped",
]
