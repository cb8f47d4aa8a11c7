"""Events as payloads in the wire format of a schema registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.connectors.codec import Codec
from reactor.registry import Registered


class RegisteredTopicCodec(Codec):
    """The schemas of its types are registered by ``open``; those of writers are fetched when they are met."""

    keeps_bytes = True

    def __init__(self, topic: str, types: tuple[Any, ...], option: Registered) -> None:
        super().__init__(topic, types)
        self._codecs = option.codecs(topic, types)
        self._encoders: dict[Any, Callable[[Any], bytes]] = {}

    async def open(self) -> None:
        for kind, codec in self._codecs.items():
            if kind not in self._encoders:
                await codec.open()
                self._encoders[kind] = codec.encoder()

    def _data(self, event: Any) -> bytes:
        return self._encoders[event.__class__](event)

    def _decoder(self, kind: Any) -> Callable[[Any], Any]:
        codec = self._codecs[kind]
        return codec.decoder(codec.contract.version)

    def _older(self) -> Callable[[Any, int], Callable[[Any], Any]]:
        return lambda kind, version: self._codecs[kind].decoder(version)

    def _readable(self, data: Any) -> Any:
        return bytes(data).decode("utf-8", "replace")
