"""What ``topic(..., codec=...)`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reactor.core import ArgumentError
from reactor.registry.client import Registry, shown
from reactor.registry.codec import RegisteredCodec
from reactor.registry.schemas import STRATEGIES, Strategy, format_of, subject_of


@dataclass(frozen=True, slots=True)
class Registered:
    """Payloads in the wire format of a registry at ``url``, in Avro, JSON or Protobuf.

    ``subjects`` says how subjects are named: ``topic`` (orders-value), ``record``, ``topic-record``; default: by
    the topic where it has one type, else by both. Schemas are registered when a sink opens; with
    ``register=False`` they are only looked up. Raises ArgumentError.
    """

    url: str
    format: Literal["avro", "json", "protobuf"] = "avro"
    subjects: Strategy | None = None
    register: bool = True

    def __post_init__(self) -> None:
        Registry(self.url)
        format_of(self.format)
        if self.subjects is not None and self.subjects not in STRATEGIES:
            raise ArgumentError(f"Registered(subjects={self.subjects!r}): known: {', '.join(STRATEGIES)}")

    def __repr__(self) -> str:
        return f"Registered({shown(self.url)!r}, {self.format!r})"

    def codecs(self, topic: str, types: Sequence[type[Any]]) -> dict[type[Any], RegisteredCodec[Any]]:
        """Return the codec of each type of a topic's events."""
        strategy: Strategy = self.subjects or ("topic" if len(types) == 1 else "topic-record")
        if not types or (strategy == "topic" and len(types) > 1):
            what = "several types need subjects of their own" if types else "payloads are those of a type"
            fix = 'pass subjects="topic-record"' if types else "name the types of its events"
            raise ArgumentError(f"topic({topic!r}, codec={self!r}): {what}; {fix}")
        registry = Registry(self.url)
        return {
            kind: RegisteredCodec(
                *(kind, registry, subject_of(strategy, topic, kind), self.format), register=self.register
            )
            for kind in types
        }
