"""What windows, joins and processes infer; read by mypy and pyright, never run."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import assert_type

from reactor import (
    Context,
    Count,
    Interval,
    Joined,
    Keyed,
    Process,
    Results,
    Session,
    Sliding,
    Stream,
    Tumbling,
    Windowed,
    Windows,
    aggregates,
)


class Sale:
    at: datetime
    ms: int
    shop: str
    amount: int
    weight: float


sales = Stream([Sale()])
timed = sales.event_time(lambda sale: sale.at, 30)
assert_type(timed, Stream[Sale])
assert_type(sales.event_time(lambda sale: sale.ms, unit="ms", idle=timedelta(seconds=5)), Stream[Sale])

keyed = timed.key_by(lambda sale: sale.shop)
assert_type(keyed, Keyed[str, Sale])
windows = keyed.window(Tumbling(60))
assert_type(windows, Windows[str, Sale])
assert_type(timed.window(Session(5)), Windows[None, Sale])

counted = windows.count()
assert_type(counted, Results[Windowed[str, int], Sale])
assert_type(counted.late, Stream[Sale])
assert_type(counted.map(lambda result: result.value), Stream[int])
assert_type(windows.sum(lambda sale: sale.amount), Results[Windowed[str, int], Sale])
assert_type(windows.mean(lambda sale: sale.weight), Results[Windowed[str, float], Sale])
assert_type(windows.max(lambda sale: sale.weight), Results[Windowed[str, float], Sale])
assert_type(windows.min(), Results[Windowed[str, Sale], Sale])
assert_type(windows.collect(), Results[Windowed[str, list[Sale]], Sale])
assert_type(windows.top(3, lambda sale: sale.amount), Results[Windowed[str, list[Sale]], Sale])
assert_type(windows.quantile(0.9, lambda sale: sale.weight), Results[Windowed[str, float], Sale])
assert_type(windows.fold(lambda total, sale: total + sale.amount, 0), Results[Windowed[str, int], Sale])
assert_type(timed.window(Count(3)).count(), Results[Windowed[None, int], Sale])
assert_type(
    windows.aggregate(aggregates.Count(), aggregates.Sum(lambda sale: sale.amount)),
    Results[Windowed[str, tuple[int, int]], Sale],
)


class Payment:
    order: str


payments = Stream([Payment()]).event_time(lambda _: datetime.now(UTC)).key_by(lambda payment: payment.order)
assert_type(keyed.join(payments, Sliding(60, 10)), Stream[Windowed[str, tuple[Sale, Payment]]])
assert_type(
    keyed.join(payments, Tumbling(60), how="outer"), Stream[Windowed[str, tuple[Sale | None, Payment | None]]]
)
assert_type(keyed.join(payments, Interval(after=60)), Stream[Joined[str, Sale, Payment]])
assert_type(keyed.join(payments, Interval(after=60), how="left"), Stream[Joined[str, Sale, Payment | None]])
assert_type(keyed.join_table(payments), Stream[Joined[str, Sale, Payment]])
assert_type(keyed.join_table(payments, how="left"), Stream[Joined[str, Sale, Payment | None]])


class Totals(Process[str, Sale, float]):
    def event(self, event: Sale, context: Context[str]) -> Iterable[float]:
        return [event.weight]


assert_type(keyed.process(Totals), Stream[float])
