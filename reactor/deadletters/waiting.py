"""Reading dead letters at a broker: a log to its end; a queue by looking at what waits in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import msgspec

from reactor.connectors.brokers import Broker, Delivery
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
            found[topic.url] = await everything(topic, make=make)
        except Exception as error:  # it is raised alone, and not in a group
            errors[topic.url] = error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, actions, True)
        tasks.start_soon(take, letters, False)
    for url in (letters.url, actions.url):
        if url in errors:
            raise errors[url]
    stored: dict[str, StoredLetter] = {}
    for letter in found[letters.url]:
        stored.setdefault(letter.id, letter)
    return found[actions.url], list(stored.values())


async def everything(topic: Topic[T], *, make: bool) -> list[T]:
    """Return all events of a topic, those that are equal once.

    Without ``make`` a queue that is missing is an error.
    """
    log = topic._log
    assert isinstance(log, Broker)
    if not log.capabilities.looks:
        try:
            return _once([record.value async for record in topic.records()])
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
    return _once([record.value for record in batch.records])


def _once(events: list[T]) -> list[T]:
    return list({msgspec.json.encode(event): event for event in events}.values())


async def clear(topic: Topic[StoredLetter], over: Callable[[StoredLetter], bool]) -> int:
    """Take the letters that are over out of their queue; return how many these were."""
    log = topic._log
    if not isinstance(log, Broker) or not log.capabilities.looks:
        raise LetterError(
            f"{topic.url}: is a log, which keeps what is stored: there is nothing to clear; its retention takes "
            "what is old"
        )
    gone: set[str] = set()

    def is_over(delivery: Delivery) -> bool:
        try:
            letter = msgspec.json.decode(delivery.data, type=StoredLetter)
        except msgspec.MsgspecError as error:
            raise other_events(topic, error) from error
        if over(letter):
            gone.add(letter.id)
        return letter.id in gone

    await log.look(make=False, over=is_over)
    return len(gone)


def other_events(topic: Topic[Any], error: Exception) -> LetterError:
    """Return the error of a topic that holds something else."""
    return LetterError(f"{topic.url}: isn't a topic of dead letters; it has other events: {error}")
