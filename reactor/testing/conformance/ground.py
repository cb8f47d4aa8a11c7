"""What all tests of the suite stand on: how topics are made, read by hand, and run."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from reactor.connectors.brokers import Capabilities
from reactor.contracts import event, upcast
from reactor.core import Cancelled, Record, Source
from reactor.pipeline import Pipeline, Run
from reactor.topics import Topic, topic

_numbers = itertools.count()


class Placed(msgspec.Struct, frozen=True):
    """An event of the suite."""

    number: int
    text: str = ""


Misplaced: type[Any] = msgspec.defstruct("Placed", [("number", str)], frozen=True)
"""Called Placed too, but its payload doesn't fit."""


class Stranger(msgspec.Struct, frozen=True):
    """An event that those who read don't know."""

    who: str


@event("conformance.Paid")
class PaidOnce(msgspec.Struct, frozen=True):
    """The first version of Paid."""

    cents: int


@event("conformance.Paid", version=2)
class Paid(msgspec.Struct, frozen=True):
    """An event of the suite, in its second version."""

    cents: int
    currency: str


@upcast(Paid, from_version=1)
def in_euros(paid: PaidOnce) -> Paid:
    """Bring the first version on."""
    return Paid(paid.cents, "EUR")


class Reader:
    """A source that is open, read by hand."""

    def __init__(self, source: Source[Any], patience: float, quiet: float) -> None:
        self.source = source
        self._patience = patience
        self._quiet = quiet

    async def take(self, count: int, *, commit: bool = False) -> list[Record[Any]]:
        """Return the next ``count`` records; AssertionError where they don't come in time."""
        found: list[Record[Any]] = []
        with anyio.move_on_after(self._patience):
            while len(found) < count:
                records = await self.source.read(count - len(found))
                assert records is not None, f"it ended after {len(found)} of {count} events"
                found += records
                if commit:
                    await self.commit()
        assert len(found) == count, f"{len(found)} of {count} events came within {self._patience:g} s"
        return found

    async def rest(self, *, commit: bool = False) -> list[Record[Any]]:
        """Return the records up to the end, or what comes until nothing has come for a while."""
        found: list[Record[Any]] = []
        while True:
            records: Sequence[Record[Any]] | None = None
            with anyio.move_on_after(self._quiet):
                records = await self.source.read(1000)
            if records is None:
                return found
            found += records
            if commit:
                await self.commit()

    async def commit(self) -> None:
        """All that was returned has been handled."""
        position = self.source.position()
        assert position is not None
        await self.source.commit(position)


def numbers(records: Iterable[Record[Any]]) -> list[int]:
    """Return the numbers of the events."""
    return [record.value.number for record in records]


class Ground:
    """What the parts of the suite share; what a subclass has to say, and what it may."""

    patience: float = 20.0
    """Seconds in which what was published has to arrive."""
    quiet: float = 0.5
    """Seconds without an event after which no more is expected."""
    many: int = 5_000
    """Events of one chunk that is large."""
    exact: float = 0.05
    """Seconds to which a group begins at a time exactly: what is older than that doesn't come."""
    encodes: bool = True
    """Whether events become bytes; in memory they may stay the objects that they are."""
    client: str | None = None
    """The module of its client library (``confluent_kafka``), without which ``topic(...)`` names the extra."""
    restartable: bool = False
    """Whether ``restart`` is there."""
    closing: float = 15.0
    """Seconds that opening or closing may take where the broker isn't there, or stands still."""
    pausable: bool = False
    """Whether ``pause`` and ``go_on`` are there."""

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        """Return the topic of that name, as an application makes it; the name is new for each test.

        A test may call it several times with the same name: each call gives the same topic.
        """
        raise NotImplementedError("make(name, *types): return a Topic")

    def at(self, url: str, *types: type[Any]) -> Topic[Any]:
        """Return the topic at a URL, as an application makes it."""
        return topic(url, *types)

    async def restart(self) -> None:
        """Stop the broker and start it again over the same data; return when it is up."""
        raise NotImplementedError("restart(): stop the broker and start it again")

    async def pause(self) -> None:
        """Let the broker stand still: it holds its connections, and answers nothing."""
        raise NotImplementedError("pause(): let the broker stand still")

    async def go_on(self) -> None:
        """End the pause."""
        raise NotImplementedError("go_on(): end the pause")

    def nowhere(self, name: str) -> str | None:
        """Return the URL of a topic at a server that isn't there, with a password; None: no server is needed.

        It should be given up soon (``patience=1``).
        """
        address = getattr(self.make(name)._log, "address", None)
        if address is None:
            return None
        if not address.port:
            raise NotImplementedError("nowhere(name): return the URL of a topic at a server that isn't there")
        return f"{address.scheme}://me:{self.password}@127.0.0.1:1/{name}?patience=1"

    @property
    def capabilities(self) -> Capabilities:
        """What the broker can do, as its connector declares it."""
        found: Capabilities = self.make(self.name())._log.capabilities  # type: ignore[attr-defined]
        return found

    # For the tests ----------------------------------------------------------------------------------------------

    password = "hush-hush"

    def name(self) -> str:
        """Return a topic's name that nobody has used yet."""
        return f"suite-{secrets.token_hex(4)}-{next(_numbers)}"

    @asynccontextmanager
    async def reading(
        self, topic: Topic[Any], group: str | None = "g", **options: Any
    ) -> AsyncGenerator[Reader, None]:
        """Open a source, and close it again."""
        async with self.opened(topic.source(group, **options)) as reader:
            yield reader

    @asynccontextmanager
    async def opened(self, source: Source[Any]) -> AsyncGenerator[Reader, None]:
        """Open a source, and close it again."""
        try:
            with anyio.fail_after(self.patience):
                await source.open()
            yield Reader(source, self.patience, self.quiet)
        finally:
            with anyio.CancelScope(shield=True):
                await source.close()

    async def join(self, topic: Topic[Any], *groups: str) -> None:
        """Make the groups known: where nothing is retained, what is published from now on is kept for them."""
        for group in groups:
            async with self.reading(topic, group):
                pass

    async def published(self, events: Sequence[Any], *groups: str, **options: Any) -> Topic[Any]:
        """Return a new topic with these events in it, which the groups (``g`` by default) will get."""
        topic = self.make(self.name(), Placed, Paid)
        await self.join(topic, *(groups or ("g",)))
        with anyio.fail_after(self.patience):
            await topic.publish(list(events), **options)
        return topic

    async def nothing_but_new(self, topic: Topic[Any], reader: Reader, may: Collection[int] = ()) -> None:
        """Demand that nothing comes but what is published now, and the numbers that ``may`` come again."""
        await topic.publish(Placed(-1), key="last")
        again = {Placed(number) for number in may}
        found: list[Any] = []
        with anyio.move_on_after(self.patience):
            while Placed(-1) not in found:
                found += [record.value for record in await reader.take(1)]
        found += [record.value for record in await reader.rest()]
        assert [value for value in found if value not in again] == [Placed(-1)]
        await reader.commit()

    async def until(self, ready: Callable[[], object], run: Run | None = None, what: Any = "") -> None:
        """Wait until it is so; raise what the run has failed with."""
        deadline = time.monotonic() + self.patience
        while not ready():
            if run is not None and run.error is not None:
                raise run.error
            assert time.monotonic() < deadline, (
                f"not within {self.patience:g} s: {what() if callable(what) else what}"
            )
            await anyio.sleep(0.01)

    async def fails(self, pipeline: Pipeline, kind: type[BaseException]) -> Any:
        """Run it; return the error that it has to fail with."""
        try:
            async with pipeline.start(drain=self.patience) as run:
                with anyio.fail_after(self.patience):
                    await run.wait()
        except kind as error:
            return error
        raise AssertionError(f"the pipeline should have failed with {kind.__name__}")

    async def drained(
        self,
        pipeline: Pipeline,
        ready: Callable[[], object],
        what: Callable[[], object] | str = "",
        *,
        restarts: bool = False,
    ) -> None:
        """Run it until it is so, and drain it; a failure ends that, unless it ``restarts``."""
        with anyio.fail_after(3 * self.patience):
            async with pipeline.start(drain=self.patience) as run:
                await self.until(ready, None if restarts else run, what)

    @asynccontextmanager
    async def abandoned(self, pipeline: Pipeline) -> AsyncGenerator[Run, None]:
        """Run it while the block runs, and cancel it then."""
        try:
            async with pipeline.start() as run:
                yield run
                run.cancel()
        except Cancelled:
            pass

    def in_order(self, records: Sequence[Record[Any]]) -> None:
        """Demand the order that the broker promises, of events whose numbers rise."""
        ordered = self.capabilities.ordered
        keys: set[str | None] = {None} if ordered == "topic" else {record.key for record in records}
        for key in () if ordered == "none" else keys:
            its = numbers(record for record in records if key is None or record.key == key)
            assert its == sorted(its), f"not in order ({ordered}): {its[:50]}"


def raised(kinds: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], object]) -> Any:
    """Call it; return the error that it has to raise."""
    try:
        call()
    except kinds as error:
        return error
    raise AssertionError(f"it should have raised {kinds}")


async def refused(kinds: type[BaseException] | tuple[type[BaseException], ...], call: Any) -> Any:
    """Await it; return the error that it has to raise."""
    try:
        await call
    except kinds as error:
        return error
    raise AssertionError(f"it should have raised {kinds}")
