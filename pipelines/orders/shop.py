"""Running the parts: the producer and the consumers, in one process or each in its own.

Every part is a pipeline of its own. A part that fails is noted, and that is all: the others go on to the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
from anyio import to_thread

from pipelines.orders.audit import audit
from pipelines.orders.email import email
from pipelines.orders.home import Home
from pipelines.orders.inventory import inventory
from pipelines.orders.payment import payment
from pipelines.orders.producer import producer
from pipelines.orders.survey import mark_published
from pipelines.orders.world import World
from reactor import Pipeline

Consumer = Callable[[Home, World], AbstractAsyncContextManager[Pipeline]]

CONSUMERS: Mapping[str, Consumer] = {
    "email": email,
    "inventory": inventory,
    "payment": payment,
    "audit": audit,
}
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


@dataclass
class Shop:
    """The parts, and the wish to stop."""

    home: Home
    follow: bool = False
    """Whether consumers go on waiting for orders after the file is done."""
    parts: dict[str, Part] = field(default_factory=dict)
    stop: anyio.Event = field(default_factory=anyio.Event)

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
                tasks.start_soon(self.consume, name, world)
            if orders_file is not None:
                tasks.start_soon(self.produce, orders_file)

    async def produce(self, orders_file: Path) -> None:
        """Publish what is in the surveyed file; what is published already changes nothing."""
        async with self._running("producer"):
            await self._until(producer(self.home, orders_file), _never)
            if not self.stop.is_set():
                await to_thread.run_sync(mark_published, self.home.source)

    async def consume(self, name: str, world: World) -> None:
        """Run the consumer until it has handled all that was published, and no more will be."""
        orders = self.home.orders()

        async def caught_up() -> bool:
            if self.follow or not await self._all_published():
                return False
            return (await orders.position(name) or 0) >= await orders.length()

        async with self._running(name), orders, CONSUMERS[name](self.home, world) as pipeline:
            await self._until(pipeline, caught_up)

    async def _all_published(self) -> bool:
        here = self.parts.get("producer")
        if here is not None:
            return here.state not in ("waiting", "running")
        known = await to_thread.run_sync(self.home.survey)
        return known is not None and known.published

    async def _until(self, pipeline: Pipeline, enough: Callable[[], Awaitable[bool]]) -> None:
        """Run the pipeline to its end, until ``enough``, or until the wish to stop. Raises its failure."""
        async with pipeline.start(drain=DRAIN) as run:
            while run.state == "running" and not self.stop.is_set() and not await enough():
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


async def _never() -> bool:
    return False
