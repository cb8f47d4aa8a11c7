"""Writing to a topic of Kafka: librdkafka batches and sends, the pipeline waits where there is no room."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client

from reactor.connectors.brokers import Address, Producer, Wire
from reactor.connectors.kafka.cluster import Health, Limits, client, reach, refusal
from reactor.connectors.kafka.settings import Kafka, producing
from reactor.connectors.log import Entry
from reactor.connectors.loops import OwnThread
from reactor.core import Refused, TopicError

Outgoing = tuple[bytes, str | None, Any, int]
"""Data, key, headers, milliseconds."""

_PAUSES = (0.001, 0.05)
"""Seconds to wait for room: the first time, and the longest."""

_SLICE = 0.1
"""Seconds after which a flush looks whether anybody still waits for it."""

_AHEAD = 3_600_000
"""Milliseconds that a message may be later than now, where the broker doesn't tell."""

_CLOCKS = 60_000
"""Milliseconds that the broker's clock may differ from ours, and a message may be on its way."""

_SURELY = 2048
"""Bytes that are enough for the headers of every event, but its id, its type and what its user gives."""

_OVERHEAD = 128
"""Bytes around a message, at most; and 10 around each header."""


class KafkaProducer(Producer):
    """Sends to one topic, in order for each key, each message once (as long as one producer lives)."""

    def __init__(self, address: Address, settings: Kafka) -> None:
        self._address = address
        self._url = str(address)
        self._topic = address.path
        self._settings = settings
        self.messages = Messages(self._url, self._topic, settings.largest)
        self._thread: OwnThread | None = None
        self._client: Client | None = None
        self._health = Health(self._url)
        self._failure: TopicError | None = None
        self._closed = False

    async def open(self) -> None:
        self._closed, self._failure = False, None
        self._health = Health(self._url)
        self._thread = OwnThread(f"reactor-kafka-{self._url}")
        await self._thread.ask(self._connect).wait()

    def _connect(self) -> None:
        found = reach(self._address, self._url, self._topic, self._settings, lambda: self._closed)
        self.messages.takes(found.limits)
        values = {
            **producing(self._address, self._settings),
            "message.max.bytes": max(1000, self.messages.largest),
            "error_cb": self._health.told,
            "on_delivery": self._reported,
        }
        self._client = client(self._url, Client, values)

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        """Only of what has failed; while the client is polled."""
        if error is not None and self._failure is None and not self._closed:
            self._failure = refusal(self._url, error) or TopicError(
                f"{self._url}: a message was not stored: {error.str()}"
            )

    def _check(self) -> None:
        """Raise what has failed; it stays so until this is opened again, as messages are missing."""
        if self._failure is not None:
            raise self._failure
        self._health.check()

    async def send(self, entries: Sequence[Entry]) -> None:
        await anyio.lowlevel.checkpoint()
        client, topic = self._client, self._topic
        assert client is not None
        self._check()
        outgoing = self.messages.of(entries)
        produce = client.produce
        for data, key, headers, milliseconds in outgoing:
            pause = _PAUSES[0]
            while True:
                try:
                    produce(topic, data, key, headers=headers, timestamp=milliseconds)
                    break
                except BufferError:
                    client.poll(0)
                    self._check()
                    await anyio.sleep(pause)
                    pause = min(pause * 2, _PAUSES[1])
                except KafkaException as error:
                    raise TopicError(f"{self._url}: a message was not taken: {error}") from error
        client.poll(0)

    async def flush(self) -> None:
        await anyio.lowlevel.checkpoint()
        client, thread = self._client, self._thread
        assert client is not None
        assert thread is not None
        client.poll(0)
        self._check()
        if len(client):
            wanted = [True]

            def all_reported() -> None:
                while wanted[0] and client.flush(_SLICE) and self._health.refused is None:
                    pass

            try:
                await thread.ask(all_reported).wait()
            finally:
                wanted[0] = False
        self._health.works()
        self._check()

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        self._closed = True
        if thread is not None:
            await thread.end(self._disconnect)

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.purge(blocking=False)
            client.poll(0)


class Messages:
    """Makes messages of entries, and refuses those that are too large before any is sent."""

    def __init__(self, url: str, topic: str, largest: int) -> None:
        self._url = url
        self.largest = largest
        self._behind: int | None = None
        self._ahead = _AHEAD - _CLOCKS
        self._wire = Wire(topic, "kafka")

    def takes(self, limits: Limits) -> None:
        """Keep to what the topic takes."""
        self.largest = min(self.largest, limits.largest or self.largest)
        self._behind = None if limits.behind is None else max(0, limits.behind - _CLOCKS)
        self._ahead = max(0, (_AHEAD if limits.ahead is None else limits.ahead) - _CLOCKS)

    def of(self, entries: Sequence[Entry], *, beside: int = 0) -> list[Outgoing]:
        """Return the messages; ``beside`` is bytes that each has to leave free."""
        headers_of = self._wire.headers
        largest = self.largest - beside
        first, now, last = self._stamps()
        outgoing: list[Outgoing] = []
        refused: dict[int, Exception] = {}
        for index, entry in enumerate(entries):
            headers = headers_of(entry, key=False)
            data, key, at = entry[5], entry[2], entry[4] // 1000
            short = len(data) + 4 * (len(entry[1]) + len(entry[0] or "") + len(key or ""))
            if short > largest - _SURELY or entry[3]:
                size = _exactly(data, key, headers)
                if size > largest:
                    refused[index] = TopicError(
                        f"{self._url}: a message of {size} bytes with its key and headers; it takes {largest} "
                        "(largest=, and the topic's max.message.bytes)"
                    )
            outgoing.append((data, key, headers, at if first <= at <= last else now))
        if refused:
            raise Refused(refused)
        return outgoing

    def _stamps(self) -> tuple[int, int, int]:
        """Return the first milliseconds that a message may have, those of now, and the last.

        What the broker doesn't take, or would delete at once, is stamped with now: its header is exact.
        """
        now = time.time_ns() // 1_000_000
        first = 1 if self._behind is None else max(1, now - self._behind)  # 0 would mean now
        return first, now, now + self._ahead

    def stamped(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        """Return messages that were made before, as they may be sent now."""
        first, now, last = self._stamps()
        return [message if first <= message[3] <= last else (*message[:3], now) for message in messages]


def _exactly(data: bytes, key: str | None, headers: dict[str, Any]) -> int:
    around = sum(len(name.encode()) + len(value.encode()) + 10 for name, value in headers.items())
    return _OVERHEAD + len(data) + len((key or "").encode()) + around
