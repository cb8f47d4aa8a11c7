"""The dead letters of a topic, as a user has them in hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, get_args

import anyio
import msgspec

from reactor.connectors.brokers import Broker
from reactor.connectors.codec import JsonCodec, microseconds
from reactor.connectors.sqlite import SqliteLog
from reactor.core import ArgumentError, LetterError, TopicError, UnknownLetter, clock
from reactor.deadletters.index import Index, LetterAction, LetterState, Pages
from reactor.deadletters.into import NOTHING, Handing
from reactor.deadletters.replaying import Repaired, plain_values, publish, repaired
from reactor.deadletters.retrying import Retrying, warn
from reactor.delivery import Retry, StoredLetter
from reactor.pipeline import Pipeline
from reactor.topics import Topic, topic

_STATES: tuple[str, ...] = get_args(LetterState)

RETRY = Retry(5, initial=60, max=3600)


def dead_letters(where: str | Topic[Any], /) -> Letters:
    """Return the dead letters of a topic, by its URL or as the topic itself; nothing is opened yet."""
    if isinstance(where, Topic):
        return Letters(where)
    if not isinstance(where, str):
        raise ArgumentError(f"dead_letters({where!r}): pass the topic's URL, or the topic")
    return Letters(where)


class Letters:
    """The dead letters of one topic, and what was done with them.

    That stands in a topic beside it, ``<name>.actions``. The calls open both and close them again; ``async
    with letters:`` keeps them open between them.
    """

    def __init__(self, where: str | Topic[Any]) -> None:
        given = where if isinstance(where, Topic) else topic(where)
        log = given._log
        self._at_broker = isinstance(log, Broker)
        if isinstance(log, Broker):
            log, beside = log.keeping(), log.part("actions")
            self._topic: Topic[StoredLetter] = Topic(log, JsonCodec(log.topic, (StoredLetter,)))
            can = log.capabilities
            if not can.looks and not (can.ends and can.retains):
                raise LetterError(
                    f"{given.url}: what is read of a queue is taken out of it; keep dead letters in a topic that "
                    "can be read again and again: sqlite:, kafka:, nats:, redis:, amqp:"
                )
        else:
            beside = f"{given.name}.actions"
            self._topic = given.beside(given.name, StoredLetter)
        self._actions: Topic[LetterAction] = given.beside(beside, LetterAction)._keeping()
        self._index = Index(self._topic, self._actions)
        self._open = self._looked = False

    @property
    def url(self) -> str:
        return self._topic.url

    def __repr__(self) -> str:
        return f"dead_letters({self.url!r})"

    def list(
        self,
        *,
        pipeline: str | None = None,
        operator: str | None = None,
        error: str | None = None,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        state: LetterState | Iterable[LetterState] | None = None,
        tried: int | None = None,
    ) -> AsyncIterator[KeptLetter]:
        """Return the letters that there are now, in the order in which they were stored.

        ``error`` is a text that the error (``ValueError: no such card``) has in it; ``since`` (included) and
        ``until`` (not included) are aware datetimes or microseconds since the epoch; ``state`` is one, or
        several; ``tried`` is how often the event was tried, at least. Raises TopicError where there is no such
        topic, LetterError where it holds something else.
        """
        states = (state,) if isinstance(state, str) else _STATES if state is None else tuple(state)
        for one in states:
            if one not in _STATES:
                raise ArgumentError(f"list(state={one!r}): known states: {', '.join(_STATES)}")
        first = None if since is None else microseconds(since, "list(since")
        end = None if until is None else microseconds(until, "list(until")
        index = self._index

        def fits(letter: StoredLetter) -> bool:
            return (
                (pipeline is None or letter.pipeline == pipeline)
                and (operator is None or letter.operator == operator)
                and (error is None or error in letter.error)
                and (first is None or letter.time >= first)
                and (end is None or letter.time < end)
                and (tried is None or letter.attempt + 1 >= tried)
                and (state is None or index.state(letter) in states)
            )

        return _Listed(self, fits)

    async def get(self, id: str) -> KeptLetter:
        """Return the letter with this id, or the only one whose id begins so (4 characters or more).

        Raises UnknownLetter.
        """
        again = self._at_broker and self._looked
        await self._known()
        found = await self._begin_so(id)
        if not found and again:
            await self._refresh()  # it may have come since the last look
            found = await self._begin_so(id)
        if id in found:
            return KeptLetter(self, found[id])
        if len(found) > 1:
            raise UnknownLetter(
                f"{self.url}: {len(found)} dead letters begin with {id!r}: {', '.join(found)}"
            )
        if not found:
            raise UnknownLetter(f"{self.url}: no dead letter {id!r}; list() shows those that there are")
        return KeptLetter(self, *found.values())

    async def _begin_so(self, id: str) -> dict[str, StoredLetter]:
        found: dict[str, StoredLetter] = {}
        async for letter in _Stored(self):
            if letter.id == id or (len(id) >= 4 and letter.id.startswith(id)):
                found[letter.id] = letter
        return found

    async def replay(self, letters: Iterable[KeptLetter], *, into: Pipeline) -> Sequence[KeptLetter]:
        """Hand each letter's event to the operator of the pipeline that failed; return those that failed again.

        They flow on from there to the sinks, in a run of that part of the pipeline for each operator: with the
        same sinks and dead letters, so ``into`` is none that runs meanwhile: build another one. What the
        operator was given is made again of what was stored. A letter counts as replayed when its event has left
        the sinks, or is a dead letter again. Raises LetterError, before anything is done, where a letter can't be
        replayed so: its operator isn't there any more, or something behind it remembers events (a window, a scan);
        and what the run fails with: letters that weren't through by then stay open.
        """
        chosen = list(letters)
        await self._refresh()
        handing = Handing(self, into)
        for letter in chosen:
            handing.add(letter)
        await handing.run()
        return [letter for letter in chosen if letter.later is not None]

    async def retry(
        self,
        policy: Retry = RETRY,
        *,
        follow: bool = False,
        to: str | Topic[Any] | None = None,
        into: Pipeline | None = None,
        pipeline: str | None = None,
        operator: str | None = None,
        error: str | None = None,
    ) -> Sequence[KeptLetter]:
        """Replay the open letters that are old enough; with ``follow`` go on so until cancelled.

        ``policy`` says when, from the time when the event failed last: after ``initial`` seconds the first time,
        growing; and how often it is tried in all (``calls``), the first failure and replays by hand included.
        What was tried so often stays open. ``to`` and ``into`` are as in a replay; with ``into`` only letters of
        that pipeline are looked at. Without both, all groups of the topic that an event came from read it again.
        The others are filters, as in ``list``.

        Returns the letters that were replayed. One that can't be is logged, stays open, and doesn't hold up the
        others. What a run of ``into`` fails with is raised, and so is what reading the letters fails with: nothing
        is lost by that, call it again.
        """
        replayed: list[KeptLetter] = []

        def told(letter: KeptLetter, error: LetterError | None) -> None:
            warn(letter, error)
            if error is None and not follow:
                replayed.append(letter)

        retrying = Retrying(
            *(self, policy), to=to, into=into, pipeline=pipeline, operator=operator, error=error, told=told
        )
        await retrying.run(follow)
        return replayed

    async def clear(self) -> int:
        """Take letters that were replayed or discarded out of their queue; return how many these were.

        Only a queue (SQS, Pub/Sub) is cleared, so that what waits in it is what is open. What is taken out is
        gone. Raises LetterError where the topic is a log.
        """
        self._looked = False
        return await self._index.clear()

    async def _refresh(self) -> None:
        log = self._topic._log
        if isinstance(log, SqliteLog) and not await anyio.Path(log.path).exists():
            raise TopicError(f"{self.url}: there is no file {log.path}")  # reading shall not make one
        await self._index.refresh()
        self._looked = self._open

    async def _known(self) -> None:
        """Look before something is done; at a broker, within ``async with``, what was seen there will do."""
        if not (self._at_broker and self._looked):
            await self._refresh()

    async def _act(self, action: LetterAction, id: str | None) -> None:
        await self._actions.publish([action], id=id and (lambda _: id), time=action.time)
        if self._at_broker:
            self._index.note(action)
        else:
            await self._index.refresh()

    async def __aenter__(self) -> Letters:
        if not self._at_broker:
            await self._refresh()
        await self._topic.__aenter__()
        try:
            await self._actions.__aenter__()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._topic._log.close()
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = self._looked = False
        try:
            await self._actions.__aexit__(kind, error, trace)
        finally:
            await self._topic.__aexit__(kind, error, trace)


class _Stored:
    """The letters of a topic as of the last look; a loop over it may be left at any time."""

    def __init__(self, letters: Letters) -> None:
        self._kept = iter(letters._index.kept)
        self._pages = None if letters._at_broker else Pages(letters._topic, 0)

    def __aiter__(self) -> _Stored:
        return self

    async def __anext__(self) -> StoredLetter:
        if self._pages is not None:
            return (await self._pages.__anext__()).value
        for letter in self._kept:
            return letter
        raise StopAsyncIteration


class _Listed:
    """The letters of a topic that fit; a loop over it may be left at any time."""

    def __init__(self, letters: Letters, fits: Callable[[StoredLetter], bool]) -> None:
        self._letters = letters
        self._fits = fits
        self._stored: _Stored | None = None

    def __aiter__(self) -> _Listed:
        return self

    async def __anext__(self) -> KeptLetter:
        if self._stored is None:
            await self._letters._refresh()
            self._stored = _Stored(self._letters)
        async for letter in self._stored:
            if self._fits(letter):
                return KeptLetter(self._letters, letter)
        raise StopAsyncIteration


class KeptLetter:
    """A dead letter and what has become of it, as of the last look at the topic."""

    def __init__(self, letters: Letters, stored: StoredLetter) -> None:
        self._letters = letters
        self.stored = stored
        """All that was stored: traceback, time, attempts, the original record's bytes and headers."""

    def __repr__(self) -> str:
        return f"<dead letter {self.id}, {self.pipeline}/{self.operator}, {self.state}: {self.error}>"

    @property
    def id(self) -> str:
        return self.stored.id

    @property
    def pipeline(self) -> str:
        return self.stored.pipeline

    @property
    def operator(self) -> str:
        return self.stored.operator

    @property
    def error(self) -> str:
        return self.stored.error

    @property
    def state(self) -> LetterState:
        """``open``, ``replayed``, ``failed again`` (then ``later`` is the open one), or ``discarded``."""
        return self._letters._index.state(self.stored)

    @property
    def earlier(self) -> str | None:
        """The id of the letter whose replay has come to this one."""
        return self.stored.earlier

    @property
    def later(self) -> str | None:
        """The id of the letter that the replay of this one has come to."""
        return self._letters._index.later(self.stored)

    @property
    def tried(self) -> int:
        """How often the event was tried: the first time, and at each replay that led to this letter."""
        return self.stored.attempt + 1

    @property
    def actions(self) -> tuple[LetterAction, ...]:
        """What was done with it, in order."""
        return self._letters._index.actions(self.stored)

    @property
    def event(self) -> Any:
        """What a replay publishes, as plain values: the repaired event, or the original record's.

        Text where that is no JSON; what the operator was given where no record's bytes were kept, or several.
        """
        edit = self._letters._index.edit(self.stored)
        if edit is not None:
            return edit.event
        raw = self.stored.raw
        if raw is None:
            return self.stored.event
        try:
            return msgspec.json.decode(raw)
        except msgspec.DecodeError:
            return raw.decode("utf-8", "replace")

    async def edit(self, event: Any) -> None:
        """Store the repaired event, which a later ``replay`` publishes instead of the original record's.

        The original stays as it is, and so do earlier repairs; the last one counts. Raises LetterError for a
        letter that was replayed already, or that several records were made of.
        """
        await self._check("edited")
        if len(self.stored.records) > 1:
            raise LetterError(
                f"{self.id}: was made of {len(self.stored.records)} records, which can't be edited"
            )
        instead = repaired(event)
        plain = plain_values(event)
        await self._letters._act(
            LetterAction(
                self.id, "edited", clock.now(), event=plain, type=instead.type, version=instead.version
            ),
            None,
        )

    async def replay(
        self,
        *,
        event: Any = NOTHING,
        to: str | Topic[Any] | None = None,
        into: Pipeline | None = None,
    ) -> LetterAction:
        """Publish its record to the topic that it came from; return where it stands there.

        Bytes, type, key, time and headers are the original's; ``event`` (or what ``edit`` has stored) takes
        the place of the bytes. Headers say which letter it was (``reactor-letter``) and how often it has been
        replayed (``reactor-attempt``). A second call publishes nothing, nor does one for another letter of the
        same record. ``to`` is another topic. Raises LetterError where there is nothing to publish, where the
        topic isn't found, and for a letter whose replay has failed again: that has a letter of its own.

        ``into`` is the pipeline that it failed in: see ``Letters.replay``. There ``event`` is what the operator is
        given; plain values are made what it was given before.
        """
        if into is not None:
            if to is not None:
                raise ArgumentError("replay(to=, into=): one of them")
            await self._letters._refresh()
            handing = Handing(self._letters, into)
            handing.add(self, event)
            await handing.run()
            return next(one for one in self.actions if one.action == "replayed")
        await self._letters._known()
        index, stored = self._letters._index, self.stored
        later = index.later(stored)
        if later is not None:
            raise LetterError(f"{self.id}: was replayed, and has failed again as {later}: replay that one")
        target = topic(to) if isinstance(to, str) else to
        done = index.replay(stored)
        if done is not None and done.into is not None:
            raise LetterError(f"{self.id}: was replayed into {done.into} already; nothing was published")
        if done is not None and target is not None and done.topic != target.url:
            raise LetterError(f"{self.id}: was replayed to {done.topic} already; nothing was published")
        if event is not NOTHING:
            plain_values(event)  # what can't be stored isn't published
            instead: Repaired | None = repaired(event)
        else:
            edit = index.edit(stored)
            instead = None if edit is None else Repaired(edit.event, edit.type, edit.version)
        if done is not None and self._letters._at_broker:
            # What stands there tells no positions, and would be published once more.
            if done.letter != self.id:
                done = msgspec.structs.replace(done, letter=self.id, time=clock.now())
                await self._letters._act(done, f"replayed/{self.id}")
            return done
        if done is not None and target is None and done.topic is not None:
            target = topic(done.topic)
        action = await publish(self._letters._topic, stored, instead, target)
        await self._letters._act(action, f"replayed/{self.id}")
        return next(one for one in self.actions if one.action == "replayed")

    async def discard(self, *, reason: str | None = None) -> None:
        """Store that nothing is to be done with it; it stays where it is, and can still be replayed.

        Raises LetterError for a letter that was replayed.
        """
        await self._check("discarded")
        await self._letters._act(
            LetterAction(self.id, "discarded", clock.now(), reason=reason), f"discarded/{self.id}"
        )

    async def _check(self, what: str) -> None:
        await self._letters._known()
        state, later = self.state, self.later
        if later is not None:
            raise LetterError(f"{self.id}: was replayed, and has failed again as {later}: see to that one")
        if state == "replayed":
            raise LetterError(f"{self.id}: was replayed already, it can't be {what} any more")
