"""The queries that Bytewax can express, with ends that cost it little.

It has no timers in event time, so q4 and q6, which wait for auctions to close, are left out. Its watermarks are
per key: a key's window closes when later events of that key come, at the latest at the end of the input. So
q5, whose second step needs the counts of all auctions, answers at the end only, and q8 mostly does.
Its watermark goes on with the system's clock; here that clock stands, so that no event of the past is late.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing

from benchmarks.workloads.on_bytewax import Batches, Folded, run

from .events import Auction, Bid, Event, Person
from .queries import LOCAL, OUT_OF_ORDER, all_highest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
BATCH = 4096


def answers(
    query: Callable[[Any], Any], events: Iterable[Event], step: Callable[[Any, Any], Any], initial: Any
) -> Any:
    """Run a query; what it gives is folded by ``step``."""
    flow = Dataflow("nexmark")
    rows = Folded(step, initial)
    op.output("out", query(op.input("in", flow, Batches(events, BATCH))), rows)
    run(flow)
    return rows.result


def clock() -> Any:
    return windowing.EventClock(
        lambda event: EPOCH + event.date_time * MILLISECOND,
        timedelta(seconds=OUT_OF_ORDER),
        now_getter=lambda: EPOCH,
        to_system_utc=lambda time: None,
    )


def bids_of(events: Any) -> Any:
    return op.filter("bids", events, lambda event: isinstance(event, Bid))


def q0(events: Any) -> Any:
    return bids_of(events)


def q1(events: Any) -> Any:
    return op.map(
        "euros", bids_of(events), lambda b: (b.auction, b.bidder, b.price * 0.908, b.date_time, b.extra)
    )


def q2(events: Any) -> Any:
    some = op.filter("some", bids_of(events), lambda b: b.auction % 123 == 0)
    return op.map("columns", some, lambda b: (b.auction, b.price))


def q3(events: Any) -> Any:
    def wanted(event: Event) -> tuple[str, Event] | None:
        if isinstance(event, Person):
            return (str(event.id), event) if event.state in LOCAL else None
        if isinstance(event, Auction) and event.category == 10:
            return str(event.seller), event
        return None

    def match(state: Any, event: Any) -> Any:
        person, auctions = state or (None, [])
        if isinstance(event, Person):
            person = event
        else:
            auctions.append(event)
        if person is None:
            return (None, auctions), ()
        return (person, []), [(person.name, person.city, person.state, auction.id) for auction in auctions]

    keyed = op.filter_map("wanted", events, wanted)
    return op.key_rm("rows", op.stateful_flat_map("match", keyed, match))


def q5(events: Any) -> Any:
    windower = windowing.SlidingWindower(timedelta(seconds=10), timedelta(seconds=2), EPOCH)
    keep: Any = all_highest(lambda row: row[1])
    counts = windowing.count_window("count", bids_of(events), clock(), windower, lambda b: str(b.auction))
    by_window = op.map("by window", counts.down, lambda row: (str(row[1][0]), (row[0], row[1][1])))
    hottest = op.fold_final("hottest", by_window, list, keep)
    return op.flat_map(
        "rows", hottest, lambda row: [(int(row[0]) * 2000, int(key), count) for key, count in row[1]]
    )


def q7(events: Any) -> Any:
    keep: Any = all_highest(lambda bid: bid.price)
    windower = windowing.TumblingWindower(timedelta(seconds=10), EPOCH)
    keyed = op.key_on("all", bids_of(events), lambda bid: "all")
    highest = windowing.fold_window(
        "highest", keyed, clock(), windower, list, keep, lambda a, b: a + b, ordered=False
    )
    return op.flat_map(
        "rows",
        highest.down,
        lambda row: [(b.auction, b.bidder, b.price, b.date_time, b.extra) for b in row[1][1]],
    )


def q8(events: Any) -> Any:
    windower = windowing.TumblingWindower(timedelta(seconds=10), EPOCH)
    people = op.filter_map(
        "people", events, lambda event: (str(event.id), event) if isinstance(event, Person) else None
    )
    auctions = op.filter_map(
        "auctions", events, lambda event: (str(event.seller), event) if isinstance(event, Auction) else None
    )
    joined = windowing.join_window(
        "join", clock(), windower, people, auctions, insert_mode="product", emit_mode="final", ordered=False
    )

    def row(found: Any) -> tuple[int, str, int] | None:
        person, auction = found[1][1]
        return None if person is None or auction is None else (person.id, person.name, auction.reserve)

    return op.filter_map("rows", joined.down, row)


QUERIES: dict[str, Callable[[Any], Any]] = {query.__name__: query for query in (q0, q1, q2, q3, q5, q7, q8)}
