"""Time, and the check that every system gives the oracle's answer."""

import asyncio
import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import oracle, queries
from .events import Event

SYSTEMS = ("reactor", "bytewax")
LEFT_OUT = "can't express it"


@dataclass(frozen=True)
class Query:
    """``form`` brings rows into a form that is equal when the answers are: see ``oracle``."""

    name: str
    what: str
    form: Callable[[Iterable[Any]], Any] = oracle.in_any_order

    def expected(self, events: list[Event]) -> list[Any]:
        rows: list[Any] = getattr(oracle, self.name)(events)
        return rows


QUERIES = {
    query.name: query
    for query in (
        Query("q0", "all bids", oracle.in_order),
        Query("q1", "bids in another currency", oracle.in_order),
        Query("q2", "bids on some auctions", oracle.in_order),
        Query("q3", "join of sellers and auctions"),
        Query("q4", "average price by category", oracle.newest(1)),
        Query("q5", "hot items, sliding windows"),
        Query("q6", "average of sellers' last ten", oracle.newest(2)),
        Query("q7", "highest bid, tumbling windows"),
        Query("q8", "new sellers, window join"),
    )
}


def can(system: str, query: str) -> bool:
    if system == "bytewax":
        from . import on_bytewax

        return query in on_bytewax.QUERIES
    return True


def count(seen: int, row: Any) -> int:
    return seen + 1


def keep(rows: list[Any], row: Any) -> list[Any]:
    rows.append(row)
    return rows


def run(system: str, query: str, events: Iterable[Event], how: Callable[..., Any] | None = None) -> int:
    """Put the events through a query and return how many rows came out."""
    if system == "bytewax":
        from . import on_bytewax

        seen: int = on_bytewax.answers(on_bytewax.QUERIES[query], events, count, 0)
        return seen
    from reactor import Stream

    pipeline = how if how is not None else getattr(queries, query)

    async def counted() -> int:
        seen: int = await pipeline(Stream(events)).fold(count, 0)
        return seen

    return asyncio.run(counted())


def rows_of(system: str, query: str, events: Iterable[Event]) -> list[Any]:
    """Put the events through a query and return the rows."""
    if system == "bytewax":
        from . import on_bytewax

        rows: list[Any] = on_bytewax.answers(on_bytewax.QUERIES[query], events, keep, [])
        return rows
    from reactor import Stream

    async def collected() -> list[Any]:
        rows: list[Any] = await getattr(queries, query)(Stream(events)).collect()
        return rows

    return asyncio.run(collected())


class WrongAnswer(AssertionError):
    """A system's answer isn't the oracle's: its time would mean nothing."""


def check(system: str, query: Query, events: list[Event]) -> None:
    """Raise WrongAnswer, with some of the rows that are too many or too few, if the answer isn't the oracle's."""
    got, expected = rows_of(system, query.name, events), query.expected(events)
    if query.form(got) == query.form(expected):
        return
    more = list((Counter(map(repr, got)) - Counter(map(repr, expected))).elements())[:3]
    less = list((Counter(map(repr, expected)) - Counter(map(repr, got))).elements())[:3]
    raise WrongAnswer(
        f"{system} gave {len(got)} rows for {len(events)} events, the oracle {len(expected)}; "
        f"too many: {', '.join(more) or '-'}; missing: {', '.join(less) or '-'}"
    )


@dataclass
class Outcome:
    """One system and query: nanoseconds per event of each round, by the clock and of all cores together."""

    query: str
    system: str
    events: int
    rows: int
    elapsed: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mib: float | None = None

    @property
    def ns_per_event(self) -> float:
        return statistics.median(self.elapsed)

    @property
    def events_per_s(self) -> float:
        return 1e9 / self.ns_per_event

    @property
    def events_per_s_per_core(self) -> float:
        return 1e9 / statistics.median(self.cpu)

    def row(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "system": self.system,
            "events": self.events,
            "rows": self.rows,
            "ns_per_event": round(self.ns_per_event, 1),
            "events_per_s": round(self.events_per_s),
            "events_per_s_per_core": round(self.events_per_s_per_core),
            "peak_mib": self.peak_mib,
        }


def timed(function: Callable[[], int], events: int) -> tuple[int, float, float]:
    """Return the result, and the nanoseconds per event by the clock and of all cores."""
    gc.collect()
    started, worked = time.perf_counter_ns(), time.process_time_ns()
    result = function()
    return (
        result,
        (time.perf_counter_ns() - started) / events,
        (time.process_time_ns() - worked) / events,
    )


def compare(
    query: Query,
    events: list[Event],
    *,
    systems: Iterable[str],
    rounds: int,
    failed: Callable[[str, Exception], None],
) -> list[Outcome]:
    """Check each system's answer, then time them in turn; a system that fails is told and left out."""
    expected = len(query.expected(events))
    outcomes = {system: Outcome(query.name, system, len(events), expected) for system in systems}
    for number in range(rounds + 1):
        for system, outcome in list(outcomes.items()):
            try:
                if not number:
                    check(system, query, events[: max(len(events) // 10, 1000)])
                    continue
                found, elapsed, cpu = timed(lambda: run(system, query.name, events), len(events))
                if found != expected:
                    raise WrongAnswer(f"{system} gave {found} rows, the oracle {expected}")
            except Exception as error:
                failed(system, error)
                del outcomes[system]
                continue
            outcome.elapsed.append(elapsed)
            outcome.cpu.append(cpu)
    return list(outcomes.values())
