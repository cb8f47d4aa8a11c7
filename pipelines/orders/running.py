"""Running parts of the shop from the command line: signals, progress, locks, and how it ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread
from rich.console import Console

from pipelines.orders.bus import JOURNAL, SHARED
from pipelines.orders.closing import Bound, Decided, bound, decided
from pipelines.orders.home import Home
from pipelines.orders.progress import Progress
from pipelines.orders.shop import ANALYTICS, CONSUMERS, Shop
from pipelines.orders.survey import Survey, survey
from pipelines.orders.world import World, simulated

R = TypeVar("R")


class Interrupted(Exception):
    """A signal has ended the run: SIGINT or SIGTERM; ``hurried`` if a second one didn't let it drain."""

    def __init__(self, number: int, hurried: bool) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.hurried = hurried


def until_signalled(main: Callable[[anyio.Event], Awaitable[R]]) -> R:
    """Run ``main`` on a loop of its own; its event is set by the first signal, the second one cancels it.

    Raises Interrupted after ``main`` where there was a signal.
    """
    caught: list[int] = []

    async def supervised() -> R | None:
        stop = anyio.Event()
        result: R | None = None

        async def watch() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                ready.set()
                async for number in signals:
                    caught.append(number)
                    if stop.is_set():
                        tasks.cancel_scope.cancel()
                        return
                    stop.set()

        ready = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await ready.wait()
            result = await main(stop)
            tasks.cancel_scope.cancel()
        return result

    try:
        result = anyio.run(supervised)
    except ExceptionGroup as group:  # the task group wraps what one task raised
        raise _only(group) from None
    if caught:
        raise Interrupted(caught[0], hurried=len(caught) > 1)
    return result  # type: ignore[return-value]


def _only(error: Exception) -> Exception:
    inside: tuple[Exception, ...] = error.exceptions if isinstance(error, ExceptionGroup) else ()
    return _only(inside[0]) if len(inside) == 1 else error


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    shop: Shop
    survey: Survey
    bound: Bound


async def run_shop(
    home: Home, orders_file: Path, stop: anyio.Event, console: Console, workers: int = 0
) -> Done:
    """Run the producer and all consumers, with progress, until everything is handled or ``stop`` is set."""
    begun, worked = time.monotonic(), time.process_time()
    with home.alone("producer", *CONSUMERS, *([JOURNAL] if home.bus else [])):
        console.print(f"[dim]surveying {orders_file} ...[/]", soft_wrap=True, highlight=False)
        found = await to_thread.run_sync(survey, orders_file, home.source)
        before: Decided = await decided(home)
        shop = Shop(home, stop=stop, workers=workers)
        for part in ("producer", *([JOURNAL] if home.bus else []), *CONSUMERS):
            shop.part(part)
        if found.published:
            shop.part("producer").state = "done"
        if not stop.is_set():
            async with simulated(home) as world, anyio.create_task_group() as tasks:
                tasks.start_soon(Progress(console, shop, found.invoices).show, home)
                await shop.run(None if found.published else orders_file, world, *CONSUMERS)
                tasks.cancel_scope.cancel()
    wall, cpu = time.monotonic() - begun, time.process_time() - worked
    return Done(shop, found, await bound(home, before, wall, cpu))


async def run_producer(home: Home, orders_file: Path, stop: anyio.Event) -> Shop:
    """Publish the file, alone."""
    with home.alone("producer"):
        shop = Shop(home, stop=stop)
        found = await to_thread.run_sync(survey, orders_file, home.source)
        if not found.published and not stop.is_set():
            await shop.produce(orders_file)
    return shop


async def run_consumer(
    home: Home, name: str, world: World | None, stop: anyio.Event, *, follow: bool
) -> Shop:
    """Run one consumer alone; without a world, beside simulated servers of its own.

    From the bus, several processes may share the events of one.
    """
    with home.alone(*([] if home.bus and name in SHARED else [name])):
        shop = Shop(home, stop=stop, follow=follow)
        if name == ANALYTICS:
            await shop.analyse()
        elif world is not None:
            await shop.consume(name, world)
        else:
            async with simulated(home) as beside:
                await shop.consume(name, beside)
    return shop
