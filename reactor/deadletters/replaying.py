"""Publishing the record of a dead letter again: its bytes, key, headers and time, or the repaired event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from reactor.connectors.brokers import Broker
from reactor.connectors.log import Batch, Entry, Row
from reactor.contracts import VERSION, tag
from reactor.core import ArgumentError, LetterError, clock
from reactor.deadletters.index import LetterAction, replay_id
from reactor.delivery import ATTEMPT, LETTER, StoredLetter, StoredRecord
from reactor.topics import Topic

_PLAIN = (dict, list, tuple, str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Repaired:
    """The event to publish instead of the original.

    ``type`` and ``version`` are those of its contract; None: the original's.
    """

    event: Any
    type: str | None
    version: int = 1

    def stamped(self, headers: dict[str, str]) -> dict[str, str]:
        """The headers, with the version of what is published."""
        if self.type is None:
            return headers
        kept = {name: text for name, text in headers.items() if name != VERSION}
        return kept if self.version == 1 else {**kept, VERSION: str(self.version)}


def plain_values(event: Any) -> Any:
    """The event as JSON values; raises ArgumentError for what isn't JSON."""
    try:
        return msgspec.json.decode(msgspec.json.encode(event))
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"event={event!r}: isn't JSON: {error}") from error


def repaired(event: Any) -> Repaired:
    """Return it with name and version of its contract; plain JSON values take the original's."""
    return Repaired(event, None) if isinstance(event, _PLAIN) else Repaired(event, *tag(type(event)))


async def publish(
    dead: Topic[StoredLetter], letter: StoredLetter, instead: Repaired | None, to: Topic[Any] | None
) -> LetterAction:
    """Publish what isn't yet, and return where it stands."""
    records: Sequence[StoredRecord | None] = letter.records or (None,)
    if records[0] is None and (instead is None or to is None):
        raise LetterError(
            f"{letter.id}: came from no topic, its original isn't kept; pass event= (what to publish) and "
            "to= (the topic), or discard it"
        )
    if instead is not None and len(records) > 1:
        raise LetterError(
            f"{letter.id}: was made of {len(records)} records, which event= can't replace; replay it without"
        )
    positions: list[int] = []
    targets: list[Topic[Any]] = []
    for record in records:
        target = to if to is not None else _home(dead, letter, record)
        # Where all records come from one topic, as they nearly always do, it is opened once.
        if targets and targets[-1].url == target.url:
            target = targets[-1]
        targets.append(target)
    for target in {one.url: one for one in targets}.values():
        async with target._opened():
            wanted: list[Entry] = []
            for record, its in zip(records, targets, strict=True):
                if its is target:
                    wanted.append(await _entry(dead, letter, record, instead, target, to is not None))
            found = await target._log.append(wanted)
            if isinstance(target._log, Broker):
                continue  # it tells no positions; who replays twice publishes twice, with the same ids
            for position, entry in zip(found, wanted, strict=True):
                row = await _row(target, position)
                if instead is not None and (row is None or row[5] != entry[5]):
                    raise LetterError(
                        f"{letter.id}: its record was replayed already, as something else, to {target.url}, "
                        f"position {position}; nothing was published"
                    )
            positions += found
    return LetterAction(
        letter.id,
        "replayed",
        clock.now(),
        topic=targets[0].url,
        positions=tuple(positions),
        replays=tuple(replay_id(letter, record) for record in records),
        attempt=1 + max(0 if record is None else record.attempt for record in records),
        event=None if instead is None else msgspec.to_builtins(instead.event),
        type=None if instead is None else instead.type,
        version=1 if instead is None else instead.version,
    )


def _home(dead: Topic[StoredLetter], letter: StoredLetter, record: StoredRecord | None) -> Topic[Any]:
    """The topic that the record came from, which stands beside the dead letters."""
    name = None if record is None else record.topic
    try:
        if name is None:
            raise ArgumentError("no topic has this name")
        home = dead.beside(name)
    except ArgumentError:
        raise _lost(dead, letter, name) from None
    return Topic(home._log.there(), home._codec) if isinstance(home._log, Broker) else home


def _lost(dead: Topic[StoredLetter], letter: StoredLetter, name: str | None) -> LetterError:
    return LetterError(
        f"{letter.id}: its record came from {name!r}, and stands in no such topic beside {dead.url}; "
        "pass to=, the topic to publish to (on the command line --to URL)"
    )


async def _entry(
    dead: Topic[StoredLetter],
    letter: StoredLetter,
    record: StoredRecord | None,
    instead: Repaired | None,
    target: Topic[Any],
    elsewhere: bool,
) -> Entry:
    codec = target._codec
    if record is None:
        assert instead is not None
        name = instead.type or type(instead.event).__name__
        headers = instead.stamped({LETTER: letter.id, ATTEMPT: "1"})
        return replay_id(letter, None), name, None, headers, clock.now(), codec._data(instead.event)
    source = target
    if elsewhere:
        try:
            source = _home(dead, letter, record)
        except LetterError:
            pass  # what the letter itself has kept will do
    row = await _original(source, record)
    kept = elsewhere or isinstance(source._log, Broker)
    if row is None and (not kept or record.raw is None or record.type is None):
        raise _lost(dead, letter, record.topic)
    kind, data, time = (record.type, record.raw, record.time) if row is None else (row[1], row[5], row[4])
    name = kind or ""
    if instead is not None:
        name = instead.type or name
        data = codec._data(_like(data, instead.event, letter))
    elif codec.keeps_bytes and not isinstance(data, bytes):
        data = codec._data(data)
    headers = {**record.headers, LETTER: letter.id, ATTEMPT: str(record.attempt + 1)}
    if instead is not None:
        headers = instead.stamped(headers)
    return replay_id(letter, record), name, record.key, headers, clock.now() if time is None else time, data


def _like(original: Any, event: Any, letter: StoredLetter) -> Any:
    """Topics in memory keep objects: a plain value takes the place of one only where it can be made one."""
    if isinstance(original, (bytes, *_PLAIN)) or not isinstance(event, _PLAIN):
        return event
    try:
        return msgspec.convert(event, type(original))
    except (msgspec.MsgspecError, TypeError) as error:
        raise LetterError(f"{letter.id}: event= is no {type(original).__name__}: {error}") from error


async def _original(source: Topic[Any], record: StoredRecord) -> Row | None:
    """The record as it stands in its topic, if that is the one."""
    if (
        isinstance(source._log, Broker)
        or record.position is None
        or (record.raw is None and source._codec.keeps_bytes)
    ):
        return None
    async with source._opened():
        row = await _row(source, record.position)
    return row if row is not None and (record.raw is None or row[5] == record.raw) else None


async def _row(source: Topic[Any], position: int) -> Row | None:
    found: list[Row] = []

    def keep(rows: Sequence[Row]) -> Batch:
        found.extend(rows)
        return Batch([], [], 0, rows[-1][0] + 1)

    await source._log.fetch(position, 1, keep)
    return found[0] if found else None
