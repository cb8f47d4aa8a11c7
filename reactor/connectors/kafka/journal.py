"""What a transactional sink keeps at the broker: its staged messages, and how far it has come.

Each owner has a topic of one partition, which only it writes to, by transactions of its own transactional.id: who
begins with that name shuts everybody out who had it before.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from reactor.connectors.brokers import Address
from reactor.connectors.kafka.cluster import Attempt, Health, Stopped, client, error_of, reach, refusal
from reactor.connectors.kafka.producer import Outgoing
from reactor.connectors.kafka.settings import Kafka, consuming, producing
from reactor.core import Fenced, TopicCorrupt, TopicError

_AT = "reactor-at"
_STATE = "reactor-state"

_TIMEOUT = 300.0
"""Seconds that a transaction may take."""

_CALL = 1.0
"""Seconds that a call of librdkafka's may block."""

_TRIM = 10.0
"""Seconds after which what is published is deleted from the journal."""

_PAUSE = 0.05
"""Seconds before a transaction is written again."""

_AROUND = 4096
"""Bytes that a message may be larger when it is staged."""

_LASTING = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
)
"""Errors of a message that don't get better when it is written again."""

_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


class State(msgspec.Struct, frozen=True):
    """How far an owner has come; the last one in the journal counts."""

    owner: str
    topic: str
    """Where its messages are published."""
    fence: int
    run: str
    """Whose messages count: those staged by other runs are void."""
    published: int = 0
    """So many of this run's messages are published."""
    prepared: tuple[tuple[int, int], ...] = ()
    """Numbers of checkpoints, each with the count of the run's messages up to its end; not published yet."""


class Journal:
    """One run's hold of its owner's journal. Blocks: for a thread of its own."""

    def __init__(
        self, address: Address, url: str, settings: Kafka, owner: str, stopped: Callable[[], bool]
    ) -> None:
        self.topic = f"{settings.staging}-{hashlib.sha256(owner.encode()).hexdigest()[:24]}"
        self._url = url
        self._owner = owner
        self._stopped = stopped
        self._health = Health(url)
        made = msgspec.structs.replace(settings, partitions=1)
        kept = {
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "cleanup.policy": "delete",
            "max.message.bytes": str(max(1_048_588, settings.largest + _AROUND)),
        }
        reach(address, url, self.topic, made, stopped, config=kept)
        common = {"error_cb": self._health.told}
        self._values: dict[str, Any] = {
            **producing(address, settings),
            **common,
            "transactional.id": self.topic,
            "transaction.timeout.ms": round(_TIMEOUT * 1000),
            "message.timeout.ms": round(_TIMEOUT * 1000),
        }
        self._producer: Producer | None = None
        reading = {**consuming(address, settings, "reactor"), **common, "isolation.level": "read_committed"}
        self._consumer = client(url, Consumer, reading)
        self._admin = client(url, AdminClient, reading_only(reading))
        self._trimmed = time.monotonic()

    # Reading ----------------------------------------------------------------------------------------------------

    def end(self) -> int:
        """Return where the journal ends."""
        place = TopicPartition(self.topic, 0)
        attempt = Attempt(self._health, float("inf"), self._stopped)
        found = attempt.until(
            lambda seconds: self._consumer.get_watermark_offsets(place, seconds), time.sleep
        )
        assert found is not None
        return int(found[1])

    def read(self, begin: int = OFFSET_BEGINNING) -> tuple[State | None, list[tuple[str, int, Outgoing]]]:
        """Return the last state, and what is staged: run, index and message of each, in the order staged."""
        end = self.end()
        state: State | None = None
        staged: list[tuple[str, int, Outgoing]] = []
        consumer = self._consumer
        consumer.assign([TopicPartition(self.topic, 0, begin)])
        try:
            while end:
                self._look()
                for message in consumer.consume(1000, 0.1):
                    offset = message.offset() or 0
                    error = message.error()
                    if error is not None:
                        if error.code() == KafkaError._PARTITION_EOF and offset >= end:
                            return state, staged
                        if error.code() == KafkaError._AUTO_OFFSET_RESET:
                            raise TopicCorrupt(f"{self._url}: {self.topic} has lost what was staged in it")
                        continue
                    headers: Any = dict(message.headers() or ())
                    if _STATE in headers:
                        state = self._decoded(message.value() or b"")
                        continue
                    run, _, index = headers.pop(_AT, b"/0").decode().partition("/")
                    key = message.key()
                    outgoing = (
                        *(message.value() or b"", None if key is None else key.decode(), headers),
                        message.timestamp()[1],
                    )
                    staged.append((run, int(index), outgoing))
        finally:
            consumer.unassign()
        return state, staged

    def _decoded(self, data: bytes) -> State:
        try:
            state = msgspec.json.decode(data, type=State)
        except msgspec.MsgspecError as error:
            raise TopicCorrupt(f"{self._url}: the state in {self.topic} can't be read: {error}") from error
        if state.owner != self._owner:
            raise TopicCorrupt(f"{self._url}: {self.topic} belongs to {state.owner}, not to {self._owner}")
        return state

    def trim(self, before: int) -> None:
        """Delete what stands before this offset, now and then; a failure costs only room."""
        if before > 0 and time.monotonic() - self._trimmed > _TRIM:
            self._trimmed = time.monotonic()
            self._admin.delete_records([TopicPartition(self.topic, 0, before)])

    # Writing ----------------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Shut out who had the journal before, and wait until what they had begun is ended."""
        producer = client(self._url, Producer, self._values)
        self._again(lambda: producer.init_transactions(_CALL))
        self._producer = producer

    def write(
        self,
        *,
        staged: Sequence[tuple[str, int, Outgoing]] = (),
        published: Sequence[Outgoing] = (),
        state: State | None = None,
        topic: str = "",
    ) -> None:
        """Write all of this in one transaction, again until it is done; raise Fenced where that can't be."""
        while True:
            try:
                self._write(staged, published, state, topic)
                return
            except KafkaException as error:
                inner = self._judged(error)
                if not inner.txn_requires_abort():
                    raise TopicError(f"{self._url}: a transaction failed: {inner.str()}") from error
                producer = self._own
                self._again(lambda producer=producer: producer.abort_transaction(_CALL))  # type: ignore[misc]
                if inner.code() in _LASTING:
                    raise TopicError(
                        f"{self._url}: {topic or self.topic} doesn't take a message that was taken before: "
                        f"{inner.str()}; what is staged stays in {self.topic}: raise its limit, and {self.topic}'s"
                    ) from error
                time.sleep(_PAUSE)

    @property
    def _own(self) -> Producer:
        assert self._producer is not None
        return self._producer

    def _write(
        self,
        staged: Sequence[tuple[str, int, Outgoing]],
        published: Sequence[Outgoing],
        state: State | None,
        topic: str,
    ) -> None:
        producer = self._own
        producer.begin_transaction()
        for run, index, (data, key, headers, at) in staged:
            self._produce(self.topic, data, key, {**headers, _AT: f"{run}/{index}"}, at)
        for data, key, headers, at in published:
            self._produce(topic, data, key, headers, at)
        if state is not None:
            self._produce(self.topic, msgspec.json.encode(state), None, {_STATE: "1"}, 0)
        self._again(lambda: producer.commit_transaction(_CALL))

    def _produce(self, topic: str, data: bytes, key: str | None, headers: Any, at: int) -> None:
        producer = self._own
        while True:
            try:
                producer.produce(topic, data, key, headers=headers, timestamp=at)
                return
            except BufferError:
                self._look()
                producer.poll(0.01)

    def _again(self, call: Callable[[], object]) -> None:
        """Call until the broker has answered."""
        while True:
            self._look()
            try:
                call()
                self._health.works()
                return
            except KafkaException as error:
                inner = self._judged(error)
                if not inner.retriable() or inner.txn_requires_abort():
                    raise
                time.sleep(0.05)

    def _judged(self, error: KafkaException) -> KafkaError:
        inner = error_of(error)
        assert inner is not None
        if inner.code() in _FENCED:
            raise fenced(self._owner) from None
        if (refused := refusal(self._url, inner)) is not None:
            raise refused from None
        return inner

    def _look(self) -> None:
        if self._stopped():
            raise Stopped
        refused = self._health.refused
        if refused is not None:
            last = self._health.last
            raise fenced(self._owner) if last is not None and last.code() in _FENCED else refused

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge(blocking=False)
            producer.poll(0)
        self._consumer.close()


def reading_only(values: dict[str, Any]) -> dict[str, Any]:
    """Return those of a consumer's settings that any client takes."""
    prefixes = ("bootstrap.", "client.", "security.", "sasl.", "ssl.", "socket.", "reconnect.", "error_cb")
    return {name: value for name, value in values.items() if name.startswith(prefixes)}


def fenced(owner: str) -> Fenced:
    return Fenced(
        f"{owner}: another process has taken over; what this one did since its last checkpoint is void"
    )
