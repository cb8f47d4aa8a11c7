"""Retry topics: dead letters that are replayed by themselves after a while, until they were tried often enough."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from reactor.core import ArgumentError, LetterError, clock
from reactor.deadletters.into import Handing
from reactor.delivery import Retry, StoredLetter
from reactor.pipeline import Pipeline
from reactor.topics import Topic, topic

if TYPE_CHECKING:
    from reactor.deadletters.letters import KeptLetter, Letters

log = logging.getLogger("reactor")

_TOGETHER = 1000
_LEAST = 1.0

Told = Callable[["KeptLetter", LetterError | None], None]


def warn(letter: KeptLetter, error: LetterError | None) -> None:
    """Log what couldn't be replayed."""
    if error is not None:
        log.warning("can't be retried: %s", error)


class Retrying:
    """Looks at the letters again and again, and replays those whose time has come.

    ``told`` is called with each letter that was replayed (``later`` is the new one where it has failed again at
    once), and once with each that can't be, and why; that one stays open and doesn't hold up the others.
    """

    def __init__(
        self,
        letters: Letters,
        policy: Retry,
        *,
        to: str | Topic[Any] | None = None,
        into: Pipeline | None = None,
        main: str | None = None,
        pipeline: str | None = None,
        operator: str | None = None,
        error: str | None = None,
        told: Told = warn,
    ) -> None:
        if not isinstance(policy, Retry):
            raise ArgumentError(f"retry({policy!r}): must be a Retry, such as Retry(5, initial=60, max=3600)")
        if policy.calls < 2:
            raise ArgumentError(
                f"retry(Retry(calls={policy.calls})): must be >= 2; the first is the one that failed"
            )
        if policy.on is not Exception:
            raise ArgumentError(
                "retry(Retry(on=...)): a stored letter has the text of its error; say error= (a text in it)"
            )
        if to is not None and into is not None:
            raise ArgumentError("retry(to=, into=): one of them")
        if into is not None:
            Handing(letters, into)  # it is a pipeline
            if pipeline not in (None, into.name):
                raise ArgumentError(
                    f"retry(pipeline={pipeline!r}, into=): into is the pipeline {into.name!r}"
                )
            pipeline = into.name
        self._letters = letters
        self._policy = policy
        self._to = topic(to) if isinstance(to, str) else to
        self._into = into
        self._main = main
        self._pipeline, self._operator, self._error = pipeline, operator, error
        self._told = told
        self._plain = replace(policy, jitter=0.0)
        self._first = self._plain.delay(1, Exception()) or 0.0
        self._refused: set[str] = set()
        self._spent: set[str] = set()

    async def run(self, follow: bool) -> None:
        """Look once, or again and again until cancelled."""
        while True:
            if self._letters._open:
                wait = await self.look()
            else:
                async with self._letters:  # while it sleeps, nothing is open
                    wait = await self.look()
            if not follow:
                return
            await anyio.sleep(wait)

    async def look(self) -> float:
        """Replay those that are due, in stored order; return the seconds until the next look.

        That is when the next one is due, or one that fails just now could be; a tenth of the first delay at
        least, and a second: at a broker each look reads all.
        """
        at = clock.now()
        soonest = at + _micro(self._first * (1 - self._policy.jitter))
        together: list[KeptLetter] = []
        spent: set[str] = set()
        listed: AsyncIterator[KeptLetter] = self._letters.list(
            state="open", pipeline=self._pipeline, operator=self._operator, error=self._error
        )
        async for letter in listed:
            due = self.due(letter.stored)
            if due is None:
                spent.add(letter.id)
            elif due > at:
                soonest = min(soonest, due)
            elif self._into is None:
                await self._publish(letter)
            else:
                together.append(letter)
                if len(together) == _TOGETHER:
                    await self._hand(self._into, together)
                    together = []
        if self._into is not None and together:
            await self._hand(self._into, together)
        if spent - self._spent:
            log.warning(
                "%s: dead letters that were tried %d times or more stay open, and aren't retried: %d",
                *(self._letters.url, self._policy.calls, len(spent)),
            )
        self._spent = spent
        return max((soonest - clock.now()) / 1_000_000, self._first / 10, _LEAST)

    def due(self, letter: StoredLetter) -> int | None:
        """When it is replayed, in microseconds since the epoch; None: it was tried often enough.

        The random part is the letter's own: it is the same at each look, and in another process.
        """
        wait = self._plain.delay(letter.attempt + 1, Exception())
        if wait is None:
            return None
        return letter.time + _micro(wait * (1 - self._policy.jitter * Random(letter.id).random()))

    async def _publish(self, letter: KeptLetter) -> None:
        try:
            await letter.replay(to=self._to)
        except LetterError as error:
            self._refuse(letter, error)
        else:
            self._told(letter, None)

    async def _hand(self, into: Pipeline, letters: list[KeptLetter]) -> None:
        handing = Handing(self._letters, into, self._main)
        handed: list[KeptLetter] = []
        for letter in letters:
            try:
                handing.add(letter)
            except LetterError as error:
                self._refuse(letter, error)
            else:
                handed.append(letter)
        if not handed:
            return
        await handing.run()
        for letter in handed:
            self._told(letter, None)

    def _refuse(self, letter: KeptLetter, error: LetterError) -> None:
        """Say so once; not where somebody else has replayed it meanwhile."""
        if letter.state == "open" and letter.id not in self._refused:
            self._refused.add(letter.id)
            self._told(letter, error)


def _micro(seconds: float) -> int:
    return round(seconds * 1_000_000)
