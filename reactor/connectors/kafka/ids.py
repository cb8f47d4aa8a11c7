"""The ids of topics, as their brokers tell them. Blocks: for threads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from reactor.connectors.kafka.cluster import Admin, Attempt, error_of, id_of, result
from reactor.core import TopicError

log = logging.getLogger("reactor")

_PATIENCE = 5.0
"""Seconds in which brokers have to tell ids; without them it goes on as if no topic was ever made anew."""


class Told(NamedTuple):
    id: str
    partitions: int


Ids = dict[str, Told]
"""By topic; without those whose id isn't told: brokers before 2.8 have none, not everybody may ask."""


def ask(admin: Admin, topics: Collection[str], seconds: float, stopped: Callable[[], bool]) -> Ids:
    """Ask once. Raises KafkaException or TimeoutError where no broker answers."""
    if not topics:
        return {}
    attempt = Attempt(admin.health, seconds, stopped)
    asked = admin.client.describe_topics(TopicCollection(list(topics)), request_timeout=seconds)
    found: Ids = {}
    for topic, future in asked.items():
        try:
            told: Any = result(admin, attempt, future, seconds)
        except KafkaException as error:
            inner = error_of(error)
            if inner is None or inner.code() in _SILENT:
                raise
            log.debug("%s: the id of %s isn't told: %s", admin.health.url, topic, inner.str())
            continue
        if (id := id_of(told)) is not None:
            found[topic] = Told(id, len(told.partitions))
    return found


def insist(
    admin: Admin, topics: Collection[str], stopped: Callable[[], bool], serve: Callable[[float], object]
) -> Ids:
    """Ask until a broker answers, for a while."""
    attempt = Attempt(admin.health, _PATIENCE, stopped)
    try:
        return attempt.until(lambda seconds: ask(admin, topics, seconds, stopped), serve)
    except TopicError as error:  # the consumer says so itself, if it concerns it
        log.debug("%s: ids of topics aren't told: %s", admin.health.url, error)
        return {}


_SILENT = {
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._DESTROY,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
}
