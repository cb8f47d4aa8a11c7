"""One broker at a time: reactor, the bare client and FastStream in turn, at the same server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from reactor import Pipeline, Stream, Topic, topic

from . import bare, peers
from .events import Enough, Sale, sales


@dataclass
class Figures:
    """Events a second by what is measured and who; latencies are the median in seconds."""

    broker: str
    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, what: str, who: str, value: float) -> None:
        self.rates.setdefault(what, {}).setdefault(who, []).append(value)

    def of(self, what: str, who: str) -> float | None:
        found = self.rates.get(what, {}).get(who)
        return median(found) if found else None


Url = Callable[[str], str]


async def measure(broker: str, url_of: Url, plain: str, *, events: int, rounds: int) -> Figures:
    """Measure a broker whose server is up: ``url_of`` gives a topic's URL, ``plain`` is what clients take."""
    figures, given = Figures(broker), sales(events)
    wanted = sum(sale.pence for sale in given)
    # In the first round the server warms up; then each of both begins in turn.
    for n in range(rounds + 1):
        found = figures if n else Figures(broker)
        order = 1 if n % 2 else -1
        name = f"bench-{n}"
        at, other = topic(url_of(name), Sale), topic(url_of(f"bench-bare-{n}"), Sale)
        await _groups(at, "ours", "bare", "ours-handler", "faststream")
        await _groups(other, "ours")

        async def produced(who: str, run: Callable[[], Awaitable[object]]) -> None:
            begun = perf_counter()
            await run()
            found.add("produce", who, events / (perf_counter() - begun))

        async def consumed(what: str, who: str, run: Callable[[Enough], Awaitable[None]]) -> None:
            enough = Enough(events)
            await asyncio.wait_for(run(enough), 120)
            if enough.total != wanted:
                raise AssertionError(
                    f"{broker}, {what}: {who} has other events: {enough.total}, not {wanted}"
                )
            found.add(what, who, enough.rate)

        writers: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("reactor", lambda: Pipeline("produce", Stream(given).to(at)).run()),
            ("bare", lambda: bare.PRODUCE[broker](plain, f"bench-bare-{n}", given)),
        ]
        queues = not at._log.capabilities.fanout  # type: ignore[attr-defined]

        def of(group: str) -> str:
            """A queue has one group: each reader gets its own one."""
            return f"{name}-{group}" if queues else name

        def read(group: str) -> Topic[Sale]:
            return topic(url_of(of(group)), Sale)

        readers: list[tuple[str, str, Callable[[Enough], Awaitable[None]]]] = [
            ("consume", "reactor", lambda enough: _consume(read("ours"), "ours", enough)),
            ("consume", "bare", lambda enough: bare.CONSUME[broker](plain, of("bare"), "bare", enough)),
            ("handle", "reactor", lambda enough: _handle(read("ours-handler"), "ours-handler", enough)),
        ]
        if broker in peers.SYSTEMS:
            readers.append(
                (
                    "handle",
                    "faststream",
                    lambda enough: peers.consume(broker, plain, name, "faststream", enough),
                )
            )
        for writer in writers[::order]:
            await produced(*writer)
        for group in ("ours", "bare", "ours-handler") if queues else ():
            await Pipeline("copy", Stream(given).to(read(group))).run()
        for reader in readers[::order]:
            await consumed(*reader)
    await _latencies(figures, broker, url_of, plain)
    return figures


async def _groups(at: Topic[Any], *names: str) -> None:
    """Make the topic, and the groups where a new one gets only what comes later."""
    sink = at.sink()
    try:
        await sink.open()
    finally:
        await sink.close()
    for name in names if not at._log.capabilities.retains else ():  # type: ignore[attr-defined]
        source = at.source(name)
        try:
            await source.open()
        finally:
            await source.close()


async def _consume(at: Topic[Any], group: str, enough: Enough) -> None:
    over = asyncio.Event()

    def take(sale: Sale) -> None:
        if not enough(sale):
            over.set()

    await _until(over, at, group, take)


async def _handle(at: Topic[Any], group: str, enough: Enough) -> None:
    over = asyncio.Event()

    async def take(sale: Sale) -> None:
        if not enough(sale):
            over.set()

    await _until(over, at, group, take)


async def _until(over: asyncio.Event, at: Topic[Any], group: str, take: Callable[[Sale], Any]) -> None:
    async with Pipeline("consume", at.subscribe(group).to(take)).start() as run:
        waiting = asyncio.create_task(over.wait())
        ended = asyncio.create_task(run.wait())
        await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
        await run.drain()
        await asyncio.gather(waiting, ended)


_HOPS = 200


async def _latencies(figures: Figures, broker: str, url_of: Url, plain: str) -> None:
    """From the call that sends one event to the handler that has it; the next one is sent then."""
    came: asyncio.Queue[Sale] = asyncio.Queue()
    at = topic(url_of("bench-hops"), Sale)
    await _groups(at, "hops")

    async def hops(send: Callable[[Sale], Awaitable[Any]]) -> float:
        found = []
        for sale in sales(_HOPS):
            begun = perf_counter()
            sending = asyncio.create_task(send(sale))  # type: ignore[arg-type]
            await asyncio.wait_for(came.get(), 10)
            found.append(perf_counter() - begun)
            await sending
        return median(found[_HOPS // 10 :])

    async with at, Pipeline("hops", at.subscribe("hops").to(came.put_nowait)).start() as run:
        await _first(at.publish, came)
        figures.add("latency", "reactor", await hops(at.publish))
        await run.drain()
    other = topic(url_of("bench-bare-hops"), Sale)
    await _groups(other, "hops-bare")
    loop = asyncio.get_running_loop()
    left = [True]

    def take(sale: Sale) -> bool:
        loop.call_soon_threadsafe(came.put_nowait, sale)
        return left[0] and sale.number >= 0

    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(bare.CONSUME[broker](plain, "bench-bare-hops", "hops-bare", take))
        async with bare.SENDER[broker](plain, "bench-bare-hops") as send:
            await _first(send, came)
            figures.add("latency", "bare", await hops(send))
            left[0] = False
            await send(sales(1)[0])


async def _first(send: Callable[[Sale], Awaitable[Any]], came: asyncio.Queue[Sale]) -> None:
    """Send until one has come: everybody is connected then."""
    while True:
        await send(sales(1)[0])
        try:
            await asyncio.wait_for(came.get(), 1)
        except TimeoutError:
            continue
        await asyncio.sleep(0.2)
        while not came.empty():
            came.get_nowait()
        return
