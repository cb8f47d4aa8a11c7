"""What has become of dead letters: the actions stored beside them, and the letters that name earlier ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from reactor.connectors.brokers import Broker
from reactor.core import Record
from reactor.deadletters.waiting import clear, everything, other_events, waiting
from reactor.delivery import StoredLetter, StoredRecord
from reactor.topics import Topic

T = TypeVar("T")

LetterState = Literal["open", "replayed", "failed again", "discarded"]

_NAMESPACE = uuid.UUID("0d6c2f3e-6b52-5c0b-8a54-7d1f3b2c9e10")
_PAGE = 1000


class LetterAction(msgspec.Struct, frozen=True):
    """Something that was done with a dead letter, as it stands in the topic ``<dead letters>.actions``.

    ``time`` is integer microseconds since the epoch. Replayed: ``topic`` is the URL, with the ``positions`` of
    the records there, ``replays`` their ids; or ``into`` is the operator that was given the event. Edited:
    ``event`` is the repaired event, ``type`` and ``version`` those of its contract (None: it has the original's).
    """

    letter: str
    action: Literal["replayed", "edited", "discarded"]
    time: int
    reason: str | None = None
    topic: str | None = None
    positions: tuple[int, ...] = ()
    replays: tuple[str, ...] = ()
    attempt: int = 0
    event: Any = None
    type: str | None = None
    version: int = 1
    into: str | None = None


def replay_id(letter: StoredLetter, record: StoredRecord | None) -> str:
    """The id of the replayed record: one pipeline's record is replayed once, however many letters it has."""
    place = None if record is None else record.place
    return str(uuid.uuid5(_NAMESPACE, f"{letter.pipeline}/{letter.id if place is None else place}"))


class Index:
    """Reads on where it has read to; holds what was done, and the letters only at a broker."""

    def __init__(self, letters: Topic[StoredLetter], actions: Topic[LetterAction]) -> None:
        self._letters = letters
        self._actions = actions
        self._read = [0, 0]
        self._of: dict[str, list[LetterAction]] = {}
        self._replays: dict[str, LetterAction] = {}
        self._later: dict[tuple[str, str], str] = {}
        self.kept: Sequence[StoredLetter] = ()
        """At a broker, the letters as of the last look."""

    async def refresh(self) -> None:
        """Read what has come since the last time; all of it, at a broker."""
        if isinstance(self._letters._log, Broker):
            actions, self.kept = await waiting(self._actions, self._letters)
            self._note_all(actions)
            for letter in self.kept:
                self._note(letter)
            return
        async for record in Pages(self._actions, self._read[0]):
            self._read[0] = (record.position or 0) + 1
            self.note(record.value)
        async for stored in Pages(self._letters, self._read[1]):
            self._read[1] = (stored.position or 0) + 1
            self._note(stored.value)

    async def clear(self) -> int:
        """Take out of the queue what is over; all that is looked at for it is what was done."""
        if isinstance(self._letters._log, Broker):
            self._note_all(await everything(self._actions, make=True))
            self.kept = ()
        return await clear(self._letters, self._over)

    def _over(self, letter: StoredLetter) -> bool:
        return self.replay(letter) is not None or any(
            one.action == "discarded" for one in self.actions(letter)
        )

    def _note_all(self, actions: Sequence[LetterAction]) -> None:
        self._of, self._replays, self._later = {}, {}, {}
        for action in actions:
            self.note(action)

    def note(self, action: LetterAction) -> None:
        """This was done."""
        self._of.setdefault(action.letter, []).append(action)
        for replay in action.replays:
            self._replays.setdefault(replay, action)

    def _note(self, letter: StoredLetter) -> None:
        for earlier in letter.replays:
            self._later.setdefault((earlier, letter.pipeline), letter.id)

    def actions(self, letter: StoredLetter) -> tuple[LetterAction, ...]:
        """What was done with this letter, in order."""
        return tuple(self._of.get(letter.id, ()))

    def replay(self, letter: StoredLetter) -> LetterAction | None:
        """How it was replayed: by itself, or as another letter of the same record."""
        into = next((one for one in self.actions(letter) if one.into is not None), None)
        if into is not None:
            return into
        ids = [replay_id(letter, record) for record in letter.records or (None,)]
        found = [self._replays.get(id) for id in ids]
        return None if None in found else found[0]

    def later(self, letter: StoredLetter) -> str | None:
        """The letter that its replay has come to in the same pipeline."""
        replay = self.replay(letter)
        names = [letter.id] if replay is None else [letter.id, replay.letter]
        return next((id for name in names if (id := self._later.get((name, letter.pipeline)))), None)

    def edit(self, letter: StoredLetter) -> LetterAction | None:
        """The last repair of its event."""
        return next((one for one in reversed(self.actions(letter)) if one.action == "edited"), None)

    def state(self, letter: StoredLetter) -> LetterState:
        """What it is now."""
        if self.later(letter) is not None:
            return "failed again"
        if self.replay(letter) is not None:
            return "replayed"
        return "discarded" if any(one.action == "discarded" for one in self.actions(letter)) else "open"


class Pages(Generic[T]):
    """The records from ``position`` to the end as of the first; nothing is open while one is looked at.

    No async generator, which trio wants closed: a loop over it may be left at any time.
    """

    def __init__(self, topic: Topic[T], position: int) -> None:
        self._topic = topic
        self._next = position
        self._end: int | None = None
        self._page: Iterator[Record[T]] = iter(())

    def __aiter__(self) -> Pages[T]:
        return self

    async def __anext__(self) -> Record[T]:
        while True:
            for record in self._page:
                return record
            await self._turn()

    async def _turn(self) -> None:
        topic = self._topic
        async with topic._opened():
            if self._end is None:
                self._end = await topic._log.length()
            if self._next >= self._end:
                raise StopAsyncIteration
            decode = topic._codec.decoding(())
            batch = await topic._log.fetch(self._next, min(_PAGE, self._end - self._next), decode)
        if batch is None:
            raise StopAsyncIteration
        if batch.bad:
            raise other_events(topic, batch.bad[0].error)
        self._next = batch.next
        self._page = iter(batch.records)
