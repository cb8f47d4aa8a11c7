"""Running the parts: the producer and the consumers, in one process or each in its own.

Every part is a pipeline of its own. A part that fails is noted, and that is all: the others go on to the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import anyio
from anyio import to_thread

from pipelines.orders.analytics import Analytics
from pipelines.orders.audit import audit
from pipelines.orders.bus import DISORDER, JOURNAL, SHARED, Ledger, journal, journaled
from pipelines.orders.email import email
from pipelines.orders.fulfilment import fulfilment
from pipelines.orders.home import Home, OrderTopic
from pipelines.orders.inventory import inventory
from pipelines.orders.payment import payment
from pipelines.orders.producer import producer
from pipelines.orders.survey import mark_published
from pipelines.orders.workers import employed
from pipelines.orders.world import World
from reactor import Pipeline

Consumer = Callable[[Home, World], AbstractAsyncContextManager[Pipeline]]

GROUPS: Mapping[str, Consumer] = {
    "email": email,
    "inventory": inventory,
    "payment": payment,
    "fulfilment": fulfilment,
    "audit": audit,
    JOURNAL: journal,
}
"""The consumers that have a position of their own in the topic."""
ANALYTICS = "analytics"
"""The one that keeps its position with its state, in a checkpoint."""
CONSUMERS = (*(name for name in GROUPS if name != JOURNAL), ANALYTICS)
DRAIN = 60.0
_LOOK = 0.1
"""Seconds between two looks at whether a consumer has caught up."""

State = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass
class Part:
    """A part of the shop as it runs here."""

    name: str
    state: State = "waiting"
    error: Exception | None = None
    read: int = 0
    """How many events of the topic it has read, where it has no group that tells."""


@dataclass
class Shop:
    """The parts, and the wish to stop."""

    home: Home
    follow: bool = False
    """Whether consumers go on waiting for orders after the file is done."""
    workers: int = 0
    """So many processes for each consumer that takes its events from the bus; 0: they run here."""
    parts: dict[str, Part] = field(default_factory=dict)
    stop: anyio.Event = field(default_factory=anyio.Event)
    _all_here: bool = False

    def part(self, name: str) -> Part:
        return self.parts.setdefault(name, Part(name))

    @property
    def failed(self) -> list[Part]:
        return [part for part in self.parts.values() if part.state == "failed"]

    async def run(self, orders_file: Path | None, world: World, *consumers: str) -> None:
        """Publish the surveyed file, if there is one, and run the consumers until they have caught up.

        Returns early once ``stop`` is set: everything is drained then, nothing is lost.
        """
        async with anyio.create_task_group() as tasks:
            for name in consumers:
                in_processes = self.workers and name in SHARED
                tasks.start_soon(self.employ if in_processes else self.consume, name, world)
            if self.home.bus is not None and JOURNAL not in consumers:
                tasks.start_soon(self.consume, JOURNAL, world)
            if orders_file is not None:
                tasks.start_soon(self.produce, orders_file)

    async def produce(self, orders_file: Path) -> None:
        """Publish what is in the surveyed file; what is published already changes nothing."""
        async with self._running("producer"):
            known: set[str] = set()
            if self.home.bus is not None:
                known = {record.value.invoice async for record in self.home.orders().records()}
            await self._until(producer(self.home, orders_file, known), _never)
            if not self.stop.is_set():
                await to_thread.run_sync(mark_published, self.home.source)

    async def consume(self, name: str, world: World) -> None:
        """Run the consumer until it has handled all that was published, and no more will be."""
        if name == ANALYTICS:
            return await self.analyse()
        if name == JOURNAL:
            return await self.keep_journal(world)
        orders = self.home.orders()
        async with (
            self._running(name),
            orders,
            GROUPS[name](self.home, world) as pipeline,
        ):
            await self._until(pipeline, self._caught_up(name, orders))

    def _caught_up(self, name: str, orders: OrderTopic) -> Callable[[], Awaitable[bool]]:
        async def caught_up() -> bool:
            if self.follow or not await self._all_published():
                return False
            groups = await orders.groups()
            end = await orders.length()
            if name == "fulfilment" and self._is_over("payment"):
                # It has failed, perhaps: fulfilment waits for it no longer.
                end = groups.get("payment", 0)
            return groups.get(name, 0) >= end

        return caught_up

    async def keep_journal(self, world: World) -> None:
        """Write what comes over the bus into HOME, and how far the consumers have come, until all has."""
        groups = [name for name in SHARED if name in self.parts]

        async def enough() -> bool:
            if self.follow or not await self._all_published():
                return False
            return all(self._is_over(name) for name in groups)

        async with self._running(JOURNAL), _alone(), journal(self.home, world) as pipeline:
            ledger = Ledger(self.home)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ledger.keep)
                await self._until(pipeline, enough)
                tasks.cancel_scope.cancel()
            await ledger.look()

    async def employ(self, name: str, world: World) -> None:
        """Run the consumer in processes that share its group; one that dies is replaced."""
        orders = self.home.orders()
        caught_up = self._caught_up(name, orders)
        async with self._running(name), orders, _alone(), anyio.create_task_group() as tasks:
            for _ in range(self.workers):
                tasks.start_soon(employed, self.home, name, world)
            while not self.stop.is_set() and not await caught_up():
                await self._pause()
            tasks.cancel_scope.cancel()

    async def analyse(self) -> None:
        """Run analytics to the end of the topic; its figures are stored with each of its checkpoints."""
        async with self._running(ANALYTICS):
            # The survey tells how far the file's invoices are out of order; they come after it.
            while (found := await to_thread.run_sync(self.home.survey)) is None and not self.follow:
                if self.stop.is_set():
                    return
                await self._pause()
            disorder = found.disorder if found else timedelta(0)
            if self.home.bus is not None:
                disorder += DISORDER
            analytics = await Analytics.begun(self.home, self._over, disorder)

            async def noted() -> bool:
                self.part(ANALYTICS).read = analytics.position
                return False

            await self._until(analytics.pipeline, noted)
            await noted()

    async def _over(self) -> bool:
        return not self.follow and await self._all_published()

    async def _all_published(self) -> bool:
        if self._all_here:
            return True
        if "producer" in self.parts and not self._is_over("producer"):
            return False
        known = await to_thread.run_sync(self.home.survey)
        if self.home.bus is None:
            return "producer" in self.parts or (known is not None and known.published)
        if any(part.name in ("producer", JOURNAL) for part in self.failed):
            return True  # no more will come
        # Over the bus: what is published is also to have come.
        self._all_here = known is not None and known.published and await journaled(self.home, known)
        return self._all_here

    def _is_over(self, name: str) -> bool:
        """Say whether the part runs here, and has ended, well or not."""
        return name in self.parts and self.parts[name].state not in ("waiting", "running")

    async def _until(self, pipeline: Pipeline, enough: Callable[[], Awaitable[bool]]) -> None:
        """Run the pipeline to its end, until ``enough``, or until the wish to stop. Raises its failure."""
        async with pipeline.start(drain=DRAIN) as run:
            while (
                run.state in ("ready", "standby", "running") and not self.stop.is_set() and not await enough()
            ):
                await self._pause()

    async def _pause(self) -> None:
        with anyio.move_on_after(_LOOK):
            await self.stop.wait()

    @asynccontextmanager
    async def _running(self, name: str) -> AsyncGenerator[None, None]:
        part = self.part(name)
        part.state = "running"
        try:
            yield
        except Exception as error:
            part.state, part.error = "failed", error
        except BaseException:
            part.state = "stopped"
            raise
        else:
            part.state = "stopped" if self.stop.is_set() else "done"


@asynccontextmanager
async def _alone() -> AsyncGenerator[None, None]:
    """Where one task of several has failed, raise its error as it is."""
    try:
        yield
    except ExceptionGroup as group:
        inside: tuple[Exception, ...] = group.exceptions
        raise (inside[0] if len(inside) == 1 else group) from None


async def _never() -> bool:
    return False
