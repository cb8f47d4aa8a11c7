"""Reaching the brokers: the topic is found or made, and what can't work is told at once. Blocks: for threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    NewTopic,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)

from reactor.connectors.brokers import Address
from reactor.connectors.kafka.settings import Kafka, common
from reactor.core import TopicError

R = TypeVar("R")

log = logging.getLogger("reactor")
native = logging.getLogger("reactor.kafka")
"""Where librdkafka's own log goes."""

_TICK = 0.05
_REFUSALS: dict[int, str] = {
    KafkaError._AUTHENTICATION: "the broker refuses the login",
    KafkaError._SSL: "no TLS connection can be made",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "this user may not use the topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "this user may not use the group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "this user may not do that",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "this user may not use the transactional.id",
    KafkaError.TOPIC_EXCEPTION: "the topic can't have that name",
    KafkaError.INVALID_REPLICATION_FACTOR: "there aren't enough brokers for replication=",
    KafkaError.INVALID_PARTITIONS: "the topic can't have so many partitions=",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "the group has members that deal partitions otherwise; give it a group of its own, or stop them, or let "
        "them have partition.assignment.strategy=cooperative-sticky"
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "session_timeout= isn't within the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
    ),
    KafkaError.POLICY_VIOLATION: "the broker doesn't let this topic be made",
}
"""What doesn't get better by waiting."""


class Stopped(Exception):
    """Nobody waits for the result any more."""


class Limits(NamedTuple):
    """What a topic takes of messages; each is None where there is no such limit, or the broker doesn't tell."""

    largest: int | None = None
    """Bytes of one batch."""
    behind: int | None = None
    """Milliseconds that a timestamp may be before now without falling under the retention at once."""
    ahead: int | None = None
    """Milliseconds that a timestamp may be after now."""


class Found(NamedTuple):
    """A topic as it is at its broker."""

    partitions: int
    limits: Limits
    id: str | None


class Admin:
    """A client for questions about topics, with connections of its own."""

    def __init__(self, address: Address, url: str, settings: Kafka) -> None:
        self.health = Health(url)
        values = {**common(address, settings), **_of_all(settings), "error_cb": self.health.told}
        self._client: AdminClient | None = client(url, AdminClient, values)

    @property
    def client(self) -> AdminClient:
        assert self._client is not None
        return self._client

    def close(self) -> None:
        """Let it go here and now: the garbage collector might do it on its own thread, which aborts the process.

        So keep no reference to ``client`` itself: tracebacks hold what stands in their frames.
        """
        self._client = None


def refusal(url: str, error: KafkaError) -> TopicError | None:
    """Return what to raise for an error that waiting doesn't cure."""
    what = _REFUSALS.get(error.code())
    if what is None and not error.fatal():
        return None
    return TopicError(f"{url}: {what or 'the client has failed'}: {error.str()}")


def error_of(error: Exception) -> KafkaError | None:
    """Return the error of librdkafka's inside of an exception."""
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return inner if isinstance(inner, KafkaError) else None


def client(url: str, kind: Callable[..., R], values: dict[str, Any]) -> R:
    """Make a client of librdkafka's; TopicError names a setting that it doesn't take."""
    try:
        return kind(values, logger=native)
    except KafkaException as error:
        inner = error_of(error)
        raise TopicError(f"{url}: {inner.str() if inner else error}") from None


class Health:
    """What a client says of its connections, by ``error_cb``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.quiet = False
        """True where somebody else says what becomes of connections."""
        self.refused: TopicError | None = None
        self.last: KafkaError | None = None
        self._lost_at: float | None = None

    def told(self, error: KafkaError) -> None:
        self.last = error
        self.refused = self.refused or refusal(self.url, error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._lost_at is None:
            self._lost_at = time.monotonic()
            if not self.quiet:
                log.warning("%s: lost: %s; trying again", self.url, error.str())

    @property
    def lost(self) -> bool:
        """Whether no broker was there when one was last needed."""
        return self._lost_at is not None

    def works(self) -> None:
        """Something was done at a broker."""
        if self._lost_at is not None:
            if not self.quiet:
                log.info("%s: connected again after %.3g s", self.url, time.monotonic() - self._lost_at)
            self._lost_at = None

    def check(self) -> None:
        """Raise what was refused."""
        if self.refused is not None:
            raise self.refused


class Attempt:
    """Calls that are tried again until they succeed, for as long as ``open`` may wait."""

    def __init__(self, health: Health, patience: float, stopped: Callable[[], bool]) -> None:
        self.health = health
        self.stopped = stopped
        self._patience = patience
        self._deadline = time.monotonic() + patience

    def until(self, call: Callable[[float], R], serve: Callable[[float], Any]) -> R:
        """Return the call's result; it is given the seconds that it may take, ``serve`` runs callbacks."""
        while True:
            self.look()
            try:
                result = call(1.0)
            except (KafkaException, FutureTimeout) as error:
                self.judge(error)
                serve(_TICK)
            else:
                self.health.works()
                return result

    def look(self) -> None:
        """Raise what forbids to go on waiting."""
        self.health.check()
        if self.stopped():
            raise Stopped

    def judge(self, error: Exception) -> None:
        inner = error_of(error)
        if inner is not None and (refused := refusal(self.health.url, inner)) is not None:
            raise refused from None
        self.health.check()
        if time.monotonic() > self._deadline:
            said = self.health.last or inner
            raise TopicError(
                f"{self.health.url}: no broker was reached within {self._patience:g} s: "
                f"{said.str() if said else 'no answer'}; is it running there? patience= waits longer"
            ) from None


def reach(
    address: Address,
    url: str,
    topic: str,
    settings: Kafka,
    stopped: Callable[[], bool],
    *,
    by: Admin | None = None,
    config: dict[str, str] | None = None,
) -> Found:
    """Find the topic, or make it (with ``config``) where the settings say so."""
    admin = by or Admin(address, url, settings)
    try:
        return _found(admin, topic, settings, stopped, config or {})
    finally:
        if admin is not by:
            admin.close()


def _found(
    admin: Admin, topic: str, settings: Kafka, stopped: Callable[[], bool], config: dict[str, str]
) -> Found:
    url = admin.health.url
    attempt = Attempt(admin.health, settings.patience, stopped)
    missing = KafkaError.UNKNOWN_TOPIC_OR_PART

    def described(seconds: float) -> tuple[int, str | None]:
        told = admin.client.describe_topics(TopicCollection([topic]), request_timeout=seconds)[topic]
        try:
            description = result(admin, attempt, told, seconds)
            return len(description.partitions), id_of(description)
        except KafkaException as error:
            inner = error_of(error)
            if inner is not None and inner.code() == missing:
                return 0, None
            raise

    def made(seconds: float) -> None:
        new = NewTopic(
            topic,
            num_partitions=settings.partitions or -1,
            replication_factor=settings.replication or -1,
            config=config,
        )
        try:
            result(admin, attempt, admin.client.create_topics([new], request_timeout=seconds)[topic], seconds)
        except KafkaException as error:
            inner = error_of(error)
            if inner is None or inner.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    def poll(seconds: float) -> None:
        admin.client.poll(seconds)

    partitions, id = attempt.until(described, poll)
    while not partitions:
        if not settings.create:
            raise TopicError(f"{url}: there is no topic {topic}; make it, or let it be made: create=true")
        attempt.until(made, poll)
        # The broker that made it isn't always the one that is asked next.
        partitions, id = attempt.until(described, poll)
        if not partitions:
            attempt.judge(FutureTimeout())
            time.sleep(_TICK)
    return Found(partitions, _limits(admin, attempt, topic), id)


def id_of(description: Any) -> str | None:
    """Return the id of a topic that was described; brokers before 2.8 have none."""
    id = description.topic_id
    return str(id) if id.get_most_significant_bits() or id.get_least_significant_bits() else None


def _limits(admin: Admin, attempt: Attempt, topic: str) -> Limits:
    """Return what the topic's settings say; not everybody may ask for them."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        asked = admin.client.describe_configs([resource], request_timeout=2.0)
        found = result(admin, attempt, asked[resource], 2.0)
    except (KafkaException, FutureTimeout):
        return Limits()

    def number(name: str) -> int | None:
        try:
            value = int(found[name].value)
        except (KeyError, TypeError, ValueError):
            return None
        return value if value >= 0 else None

    behind = number("message.timestamp.before.max.ms")
    kept = number("retention.ms")
    if kept is not None and "delete" in str(getattr(found.get("cleanup.policy"), "value", "delete")):
        # Who reads is to have the half of it: what is older is kept from when it is written.
        behind = kept // 2 if behind is None else min(behind, kept // 2)
    return Limits(number("max.message.bytes"), behind, number("message.timestamp.after.max.ms"))


def result(admin: Admin, attempt: Attempt, future: Future[Any], seconds: float) -> Any:
    """Wait for a client's answer, and serve its callbacks meanwhile."""
    deadline = time.monotonic() + seconds + 1.0
    while True:
        admin.client.poll(0)
        attempt.look()
        try:
            return future.result(_TICK)
        except FutureTimeout:
            if time.monotonic() > deadline:
                raise


def _of_all(settings: Kafka) -> dict[str, Any]:
    """Return those of librdkafka's settings that every client takes."""
    prefixes = ("sasl.", "ssl.", "security.", "enable.sasl", "enable.ssl", "socket.", "broker.", "reconnect.")
    more = ("client.", "metadata.", "debug", "log", "oauth", "connections.", "resolve_cb", "topic.metadata.")
    return {name: value for name, value in settings.librdkafka.items() if name.startswith((*prefixes, *more))}
