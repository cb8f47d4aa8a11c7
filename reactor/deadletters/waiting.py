"""Reading dead letters at a broker: a log to its end; a queue by looking at what waits in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import msgspec

from reactor.connectors.brokers import Broker
from reactor.core import DecodeError, LetterError
from reactor.delivery import StoredLetter
from reactor.topics import Topic

if TYPE_CHECKING:
    from reactor.deadletters.index import LetterAction

T = TypeVar("T")


async def waiting(
    actions: Topic[LetterAction], letters: Topic[StoredLetter]
) -> tuple[list[LetterAction], list[StoredLetter]]:
    """Return all that was done, and all letters: each once, though a broker may have stored it twice.

    What a queue gives in any order comes in that of the times.
    """
    found: dict[str, list[Any]] = {}
    errors: dict[str, Exception] = {}

    async def take(topic: Topic[Any], make: bool) -> None:
        try:
            found[topic.url] = await _all(topic, make)
        except Exception as error:  # it is raised alone, and not in a group
            errors[topic.url] = error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, actions, True)
        tasks.start_soon(take, letters, False)
    for url in (letters.url, actions.url):
        if url in errors:
            raise errors[url]
    done = {msgspec.json.encode(one): one for one in found[actions.url]}
    return list(done.values()), list({one.id: one for one in reversed(found[letters.url])}.values())[::-1]


async def _all(topic: Topic[T], make: bool) -> list[T]:
    log = topic._log
    assert isinstance(log, Broker)
    if not log.capabilities.looks:
        try:
            return [record.value async for record in topic.records()]
        except DecodeError as error:
            raise other_events(topic, error) from error
    deliveries = await log.look(make=make)
    rows = [
        (number, each.type, each.key, each.headers, each.time, each.data)
        for number, each in enumerate(sorted(deliveries, key=lambda one: one.time))
    ]
    if not rows:
        return []
    batch = topic._codec.decoding(())(rows)
    if batch.bad:
        raise other_events(topic, batch.bad[0].error)
    return [record.value for record in batch.records]


def other_events(topic: Topic[Any], error: Exception) -> LetterError:
    """Return the error of a topic that holds something else."""
    return LetterError(f"{topic.url}: isn't a topic of dead letters; it has other events: {error}")
