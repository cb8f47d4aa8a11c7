"""How cost and memory grow: with depth, concurrency, capacity, chunk, and the number of events."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from . import memory
from .harness import Workload, compare
from .workloads.async_map import ordered_pool
from .workloads.functions import add, double, increment, increment_soon, third
from .workloads.fused import by_hand

DEPTHS = (1, 2, 4, 8, 16, 32, 64)
CONCURRENCIES = (1, 4, 16, 32, 64, 256, 1024)
SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
EVENTS = (10_000, 100_000, 1_000_000, 10_000_000)


def deep_loop(depth: int) -> Callable[[int], int]:
    """What one would write by hand: the calls one after the other in one loop."""
    calls = "\n".join(["        x = increment(x)"] * depth)
    source = f"def loop(events):\n    total = 0\n    for x in range(events):\n{calls}\n"
    source += "        total = add(total, x)\n    return total\n"
    names: dict[str, Any] = {"increment": increment, "add": add}
    exec(source, names)
    loop: Callable[[int], int] = names["loop"]
    return loop


def depth(point: int) -> Workload:
    work = Workload("growth-depth", "map after map, fused", events=200_000)

    async def on_reactor(events: int) -> int:
        from reactor import Stream

        stream = Stream(range(events))
        for _ in range(point):
            stream = stream.map(increment)
        return await stream.fold(add, 0)

    work.system("reactor")(on_reactor)
    work.system("loop")(deep_loop(point))
    return work


def channels(point: int) -> Workload:
    work = Workload("growth-channels", "map after map, a channel after each", events=100_000)

    async def on_reactor(events: int) -> int:
        from reactor import Stream

        stream = Stream(range(events))
        for _ in range(point):
            stream = stream.map(increment).buffer(1024)
        return await stream.fold(add, 0)

    work.system("reactor")(on_reactor)
    work.system("loop")(deep_loop(point))
    return work


def concurrency(point: int) -> Workload:
    work = Workload("growth-concurrency", "async map, ordered, beside the hand-written pool", events=50_000)

    async def on_reactor(events: int) -> int:
        from reactor import Stream

        return await Stream(range(events)).map(increment_soon, concurrency=point).fold(add, 0)

    async def pool(events: int) -> int:
        total = 0

        def emit(result: int) -> None:
            nonlocal total
            total = add(total, result)

        await ordered_pool(range(events), increment_soon, emit, point)
        return total

    work.system("reactor")(on_reactor)
    work.system("loop")(pool)
    return work


async def _through_a_pipeline(settings: dict[str, int], events: int) -> int:
    from reactor import Pipeline, Stream

    total = 0

    def take(value: int) -> None:
        nonlocal total
        total = add(total, value)

    steps = (
        Stream(range(events)).map(double).buffer(settings.get("capacity", 1024)).filter(third).map(increment)
    )
    await Pipeline("growth", steps.to(take), **settings).run()
    return total


def _setting(name: str, point: int) -> Workload:
    work = Workload(f"growth-{name}", f"one channel, {name} of the pipeline", events=100_000)

    async def on_reactor(events: int) -> int:
        return await _through_a_pipeline({name: point}, events)

    # One event per chunk is a switch of tasks per event: fewer events will do.
    work.system("reactor", share=0.1 if point < 16 else 1.0)(on_reactor)
    work.system("loop")(by_hand)
    return work


GROWTHS: tuple[tuple[str, tuple[int, ...], Callable[[int], Workload]], ...] = (
    ("depth", DEPTHS, depth),
    ("depth", DEPTHS, channels),
    ("concurrency", CONCURRENCIES, concurrency),
    ("capacity", SIZES, partial(_setting, "capacity")),
    ("chunk", SIZES, partial(_setting, "chunk")),
)


def measure(console: Console, failures: list[str], *, quick: bool) -> list[dict[str, Any]]:
    """Print a table per growth; hand back the rows for the JSON, each with its parameter.

    What fails is printed and added to ``failures``.
    """
    rows: list[dict[str, Any]] = []
    for parameter, points, build in GROWTHS:
        found: list[dict[str, Any]] = []
        what = ""
        for point in (points[0], points[-1]) if quick else points:
            work = build(point)
            what = f"{work.name}: {work.what}"

            def failed(system: str, error: Exception, name: str = f"{work.name} {point}") -> None:
                line = f"{name}: {system} failed: {type(error).__name__}: {error}"
                failures.append(line)
                console.print(line, style="bold red", markup=False)

            events = work.events // 50 if quick else work.events
            with console.status(f"{work.name} {point}"):
                outcomes = compare(
                    work, rounds=1 if quick else 3, events=events, systems=("reactor",), failed=failed
                )
            found += [outcome.row() | {parameter: point} for outcome in outcomes]
        _show(console, what, parameter, found)
        rows += found
    return rows + measure_memory(console, failures, EVENTS[:2] if quick else EVENTS)


def measure_memory(console: Console, failures: list[str], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """The peak of a process of its own per size, and whether it is flat in the number of events."""
    try:
        with console.status("memory"):
            rows = memory.compare(sizes)
    except Exception as error:
        failures.append(f"memory failed: {type(error).__name__}: {error}")
        console.print(failures[-1], style="bold red", markup=False)
        return []
    _show(console, "growth-events: a channel, an async map, batches; peak of the process", "peak_mib", rows)
    more = memory.growth_mib(rows)
    verdict = "[green]met[/]" if more <= memory.TOLERANCE_MIB else "[bold red]not met[/]"
    console.print(
        f"memory flat from {sizes[0]:,} to {sizes[-1]:,} events: {more:+.1f} MiB "
        f"(goal: within {memory.TOLERANCE_MIB:g}), {verdict}"
    )
    return rows


def _show(console: Console, title: str, parameter: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("system", parameter, "events", "ns/event", "of the loop"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for row in rows:
        table.add_row(
            row["system"],
            f"{row[parameter]:,}",
            f"{row['events']:,}",
            f"{row['ns_per_event']:,.0f}",
            f"{row['ratio_to_loop']:.3g}",
            style="bold" if row["system"] == "reactor" else None,
        )
    console.print(table)
