"""An AsyncAPI 3.0 document of topics and the contracts that they carry (https://www.asyncapi.com/docs/reference)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from reactor.contracts.declared import Contract, contract_of
from reactor.contracts.reading import VERSION
from reactor.contracts.schemas import json_schema
from reactor.core import ArgumentError

Action = Literal["send", "receive"]

_KEY = re.compile(r"[^A-Za-z0-9._-]")
_SCHEMA = "application/schema+json;version=2020-12"


@runtime_checkable
class Channel(Protocol):
    """What is a channel of the document: a topic is one."""

    @property
    def url(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def types(self) -> tuple[type[Any], ...]: ...


def asyncapi(
    title: str,
    channels: Iterable[Channel],
    *,
    version: str = "1.0.0",
    description: str | None = None,
    actions: Mapping[str, Sequence[Action]] | None = None,
    contracts: Iterable[Contract[Any]] = (),
) -> dict[str, Any]:
    """Return the document: a channel for each topic, a message and its JSON Schema for each contract.

    ``actions`` tells by the topic's name whether this application sends to it, receives from it, or both (an
    operation each). ``contracts`` are those that stand in no topic. A topic's place, its URL without the name,
    is a server; user and password are left out.
    """
    found = {contract.name: contract for contract in contracts}
    topics: dict[str, Any] = {}
    servers: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for channel in channels:
        key = _key(channel.name)
        if key in topics:
            raise ArgumentError(f"asyncapi: two topics are called {channel.name!r}; describe them apart")
        scheme, host = _place(channel)
        server = _key(f"{scheme}-{host}" if host else scheme)
        servers[server] = {"host": host or scheme, "protocol": scheme}
        carried = [contract_of(kind) for kind in channel.types]
        found |= {contract.name: contract for contract in carried}
        topics[key] = {
            "address": channel.name,
            "servers": [{"$ref": f"#/servers/{server}"}],
            "messages": {
                _key(contract.name): {"$ref": f"#/components/messages/{_key(contract.name)}"}
                for contract in carried
            },
        }
        for action in (actions or {}).get(channel.name, ()):
            if action not in ("send", "receive"):
                raise ArgumentError(f"asyncapi(actions={{{channel.name!r}: {action!r}}}): send or receive")
            operations[f"{action}.{key}"] = {"action": action, "channel": {"$ref": f"#/channels/{key}"}}
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "servers": servers,
        "channels": topics,
        "operations": operations,
        "components": {"messages": {_key(name): _message(one) for name, one in sorted(found.items())}},
    }
    if description is not None:
        document["info"]["description"] = description
    return document


def channels_in(module: ModuleType) -> list[Channel]:
    """Return the topics that a module names."""
    found: dict[int, Channel] = {}
    for value in vars(module).values():
        if not isinstance(value, type) and isinstance(value, Channel):
            found[id(value)] = value
    return list(found.values())


def _message(contract: Contract[Any]) -> dict[str, Any]:
    doc = (contract.kind.__doc__ or "").strip()
    message: dict[str, Any] = {
        "name": contract.name,
        "title": contract.name,
        "contentType": "application/json",
        "payload": {"schemaFormat": _SCHEMA, "schema": _within(json_schema(contract.kind), contract.name)},
    }
    if doc and not doc.startswith(f"{contract.kind.__name__}("):  # a dataclass writes one of its own
        message["summary"] = doc.partition("\n")[0]
    if contract.version != 1:
        headers = {VERSION: {"type": "string", "const": str(contract.version)}}
        message["headers"] = {"type": "object", "required": [VERSION], "properties": headers}
    return message


def _within(schema: Any, name: str) -> Any:
    """The schema with its references as they are from the root of the document."""
    if isinstance(schema, list):
        return [_within(one, name) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {word: _within(one, name) for word, one in schema.items()}
    root = f"#/components/messages/{_key(name)}/payload/schema/$defs/"
    if isinstance(found.get("$ref"), str):
        found["$ref"] = found["$ref"].replace("#/$defs/", root)
    mapping = found.get("mapping")
    if isinstance(mapping, dict) and "propertyName" in found:
        found["mapping"] = {tag: str(ref).replace("#/$defs/", root) for tag, ref in mapping.items()}
    return found


def _place(channel: Channel) -> tuple[str, str]:
    """Scheme and host (a file's path, for an embedded broker) of a topic's URL, without user and password."""
    scheme, _, rest = channel.url.partition(":")
    place = rest.partition("?")[0].removesuffix(channel.name).strip("/")
    return scheme, place.rpartition("@")[2]


def _key(name: str) -> str:
    """The name as a key of the document."""
    return _KEY.sub("_", name)


def as_json(document: Any) -> str:
    """Return a document as text that is read by people."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
