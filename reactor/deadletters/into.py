"""Handing the events of dead letters to the operator that failed, from where they flow on as ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from reactor.core import ArgumentError, LetterError, Record, Source, clock
from reactor.deadletters.index import LetterAction
from reactor.deadletters.making import Unmakeable, made
from reactor.deadletters.part import behind
from reactor.deadletters.replaying import plain_values, repaired
from reactor.delivery import Replayed, StoredLetter, replayed
from reactor.engine import Execution
from reactor.graph import check
from reactor.pipeline import Pipeline

if TYPE_CHECKING:
    from reactor.deadletters.letters import KeptLetter, Letters

NOTHING: Any = object()
SOURCE = "dead letters"

Handed = tuple[StoredLetter, Any]
Done = Callable[[Sequence[Replayed]], Awaitable[None]]


class _HandedSource(Source[Any]):
    """Gives the events; those that have left every sink, or are dead letters again, are told to ``done``."""

    replay = True
    name = SOURCE

    def __init__(self, handed: Sequence[Handed], done: Done) -> None:
        self._records = [replayed(letter, event, SOURCE, at) for at, (letter, event) in enumerate(handed)]
        self._done = done
        self._next = self._told = 0

    async def read(self, limit: int) -> Sequence[Record[Any]] | None:
        records = self._records[self._next : self._next + limit]
        self._next += len(records)
        return records or None

    def position(self) -> int:
        return self._next

    async def commit(self, position: int) -> None:
        over = self._records[self._told : position]
        if over:
            await self._done(over)
            self._told = position


class Handing:
    """Dead letters whose events are handed to the operators that failed: one run for each operator."""

    def __init__(self, letters: Letters, pipeline: Pipeline, main: str | None = None) -> None:
        if not isinstance(pipeline, Pipeline):
            raise ArgumentError(f"replay(into={pipeline!r}): must be the Pipeline that the event failed in")
        self._letters = letters
        self._pipeline = pipeline
        self._main = main
        self._handed: dict[str, dict[str, Handed]] = {}
        self._instead: dict[str, tuple[Any, str | None, int]] = {}

    def add(self, letter: KeptLetter, event: Any = NOTHING) -> None:
        """Look whether the letter can be replayed so; raise LetterError where it can't.

        One that has been already isn't handed over again.
        """
        stored, pipeline, index = letter.stored, self._pipeline, self._letters._index
        if stored.pipeline != pipeline.name:
            raise LetterError(
                f"{letter.id}: failed in pipeline {stored.pipeline!r}, not in {pipeline.name!r}"
            )
        later = index.later(stored)
        if later is not None:
            raise LetterError(f"{letter.id}: was replayed, and has failed again as {later}: replay that one")
        done = index.replay(stored)
        if done is not None and done.into is None:
            raise LetterError(f"{letter.id}: was replayed to {done.topic} already; nothing was done")
        if done is not None:
            return
        handed = self._handed.get(stored.operator)
        if handed is None:
            behind(pipeline._graph, stored.operator, Source[Any]())
            handed = self._handed[stored.operator] = {}
        handed[letter.id] = stored, self._event(letter, event)

    def _event(self, letter: KeptLetter, event: Any) -> Any:
        stored, kind = letter.stored, letter.stored.kind
        plain = stored.event
        if event is not NOTHING:
            instead = repaired(event)
            self._instead[letter.id] = plain_values(event), instead.type, instead.version
            if instead.type is not None:
                return event
            plain = event
        else:
            edit = self._letters._index.edit(stored)
            if edit is not None:
                if not _given_as_read(stored):
                    raise LetterError(
                        f"{letter.id}: its repair is one of the record, and {stored.operator} is given something "
                        "else; pass event= (what it is to be given), or replay it to its topic"
                    )
                plain = edit.event
                if kind is not None and kind.version and edit.type is not None:
                    kind = msgspec.structs.replace(kind, name=edit.type, version=edit.version)
        if kind is None:
            raise LetterError(
                f"{letter.id}: what {stored.operator} was given isn't kept as JSON values; pass event= (what "
                "it is to be given), or replay it to its topic"
            )
        try:
            return made(plain, kind, self._main)
        except Unmakeable as error:
            raise LetterError(
                f"{letter.id}: what {stored.operator} was given can't be made again: {error}; pass event=, or "
                "replay it to its topic"
            ) from error

    async def run(self) -> None:
        """Hand all over; return when they have left every sink, or are dead letters again.

        Raises what the run fails with; those that weren't through by then are open still.
        """
        for operator, handed in self._handed.items():
            graph = behind(
                self._pipeline._graph, operator, _HandedSource(list(handed.values()), self._over(operator))
            )
            check(graph)
            await Execution(graph).execute()
        self._handed.clear()
        await self.refresh()

    async def refresh(self) -> None:
        """Look what has become of the letters."""
        await self._letters._refresh()

    def _over(self, operator: str) -> Done:
        async def done(records: Sequence[Replayed]) -> None:
            now, actions = clock.now(), list[LetterAction]()
            for record in records:
                letter = record.letter
                event, type, version = self._instead.get(letter.id, (None, None, 1))
                attempt = letter.attempt + 1
                action = LetterAction(letter.id, "replayed", now, attempt=attempt, event=event, into=operator)
                actions.append(msgspec.structs.replace(action, type=type, version=version))
            await self._letters._actions.publish(
                actions, id=lambda action: f"replayed/{action.letter}", time=now
            )

        return done


def _given_as_read(letter: StoredLetter) -> bool:
    """True where the operator was given what the source had read, as it was."""
    if letter.raw is None:
        return letter.kind is not None and letter.type in (None, letter.kind.name.rpartition(":")[2])
    try:
        return bool(msgspec.json.decode(letter.raw) == letter.event)
    except msgspec.DecodeError:
        return False
