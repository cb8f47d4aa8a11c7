"""The consumer ``analytics``: what the orders tell, in event time.

- revenue per country and minute, and what came too late for it
- the best sellers of the last seven days, each day
- the sessions of each customer
- cancellations, each with the newest order of the same customer, not older than thirty days, that had one of
  its products

Its checkpoints stand in HOME, in ``analytics.state``: how far it has read, the windows that are open, and the
figures. A run that was stopped or killed goes on from the last one; what is in ``analytics.json`` is always what
that one says. A run that has come to the end of the topic has told of windows that weren't over: the next one
begins anew, at the topic's beginning. (It has no group there.)

Event time is the invoice's. The orders file and the web app are two channels with clocks years apart, perhaps;
each has a watermark of its own, and sessions and best sellers of its own. How long to wait for the file's
events is known: the survey has measured how far they are out of order, so none of them is late. (December 2010
isn't out of order at all.) For web orders it is ``WEB_DISORDER``.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import NamedTuple

import anyio
import msgspec
from anyio import to_thread

from pipelines.orders.events import (
    WEB,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    happened_at,
    total,
)
from pipelines.orders.figures import Figures, Found, found
from pipelines.orders.findings import (
    EVERY,
    GAP,
    RETURNS,
    TOP,
    WEEK,
    Channel,
    Findings,
    Sales,
    load,
    shared,
)
from pipelines.orders.home import Home, OrderTopic
from reactor import (
    Checkpoints,
    Interval,
    Joined,
    Pipeline,
    Record,
    Session,
    Sliding,
    Source,
    StateError,
    Stream,
    Tumbling,
    Windowed,
    aggregates,
    checkpoints,
)

NAME = "analytics"
MINUTE = timedelta(minutes=1)
WEB_DISORDER = timedelta(minutes=1)
"""How far web orders may be out of order: they are stored within seconds, see ``web.PATIENCE``."""
_MOMENT = timedelta(microseconds=1)
"""Invoices have whole minutes. Of those with the same time, one may follow a customer's last order after exactly
the gap of a session, and belongs to it: so the watermark stays behind that time until a later one has come."""
_LOOK = 0.1
"""Seconds that the end of the topic is silent before it is asked whether more will come."""


class Published(Source[OrderEvent]):
    """All of the topic, from its beginning until ``ended()`` says that no more will be published."""

    seekable = True

    def __init__(self, orders: OrderTopic, ended: Callable[[], Awaitable[bool]]) -> None:
        self.name = orders.name
        self._orders = orders
        self._ended = ended
        self._source = orders.source(start=0, follow=True)

    async def open(self) -> None:
        await self._source.open()

    async def read(self, limit: int) -> Sequence[Record[OrderEvent]] | None:
        while True:
            ended = await self._ended()
            with anyio.move_on_after(_LOOK):
                return await self._source.read(limit)
            # What was published before the question is to be read, however slow reading is.
            if ended and self._source.position() == await self._orders.length():
                return None

    def position(self) -> int | None:
        return self._source.position()

    async def seek(self, position: int) -> None:
        await self._source.seek(position)

    async def close(self) -> None:
        await self._source.close()


class Sold(NamedTuple):
    """One line of an order."""

    code: str
    description: str
    units: int


def wait_for(disorder: timedelta) -> timedelta:
    """How far the watermark is behind the latest event."""
    return disorder + _MOMENT


def analysis(events: Stream[OrderEvent], channel: Channel, disorder: timedelta) -> Stream[Found]:
    """Return what the windows and joins find over events of one clock."""
    wait = wait_for(disorder)
    timed = events.of_type(OrderCompleted, OrderCancelled).event_time(happened_at, out_of_order=wait)
    orders = timed.of_type(OrderCompleted)
    by_customer = orders.filter(_known).key_by(_customer)

    revenue = (
        orders.key_by(_country)
        .window(Tumbling(MINUTE), name=f"revenue, {channel}")
        .aggregate(aggregates.Count(), aggregates.Sum(_total))
    )
    sold = (
        orders.flat_map(_lines)
        .key_by(_code)
        .window(Sliding(WEEK, every=EVERY), name=f"sold in a week, {channel}")
        .aggregate(aggregates.Sum(_units), aggregates.Max(_description))
    )
    # The results of one week have one event time, its last microsecond: together they fall into one day.
    best = sold.map(_sales).window(Tumbling(EVERY), name=f"best sellers, {channel}").top(TOP, by=_rank)
    sessions = by_customer.window(Session(GAP), name=f"sessions, {channel}").count()
    returns = (
        timed.of_type(OrderCancelled)
        .filter(_known)
        .key_by(_customer)
        .join(by_customer, Interval(before=RETURNS), name=f"returns, {channel}")
        .filter(_fits)
    )
    return timed.map(found(Findings.read)).merge(
        revenue.map(found(Findings.minute)),
        revenue.late.map(found(Findings.late_order)),
        best.map(found(partial(Findings.week, channel=channel))),
        sold.late.map(found(Findings.late_line)),
        sessions.map(found(Findings.session)),
        sessions.late.map(found(Findings.late_visit)),
        returns.map(found(Findings.returned)),
    )


class Analytics:
    """The pipeline, what it finds, and how far it has read."""

    def __init__(
        self,
        home: Home,
        ended: Callable[[], Awaitable[bool]],
        disorder: timedelta,
    ) -> None:
        self._figures = Figures(home, Findings(waits=_waits(disorder), best={"file": {}, "web": {}}))
        self._source = Published(home.orders(), ended)
        web, file = Stream(self._source).split(_from_web)
        both = analysis(file, "file", disorder).merge(analysis(web, "web", WEB_DISORDER))
        # Not each time that the producer pauses: nobody waits for the figures.
        often = Checkpoints(_url(home), when_idle=False)
        self.pipeline = Pipeline(NAME, both.to(self._figures), checkpoint=often, guarantee="exactly-once")

    @classmethod
    async def begun(cls, home: Home, ended: Callable[[], Awaitable[bool]], disorder: timedelta) -> Analytics:
        """Go on where a run was stopped, with the same wait for late events; else begin anew."""
        if not await _goes_on(home, disorder):
            await to_thread.run_sync(partial(shutil.rmtree, home.analytics_state, ignore_errors=True))
        await anyio.Path(home.analytics_state).mkdir(exist_ok=True)
        return cls(home, ended, disorder)

    @property
    def findings(self) -> Findings:
        return self._figures.findings

    @property
    def position(self) -> int:
        return self._source.position() or 0


def _url(home: Home) -> str:
    return f"sqlite:{home.analytics_state.absolute()}/checkpoints.db"


def _waits(disorder: timedelta) -> dict[Channel, timedelta]:
    return {"file": wait_for(disorder), "web": wait_for(WEB_DISORDER)}


async def _goes_on(home: Home, disorder: timedelta) -> bool:
    try:
        last = await checkpoints(_url(home)).last(NAME)
        told = await to_thread.run_sync(load, home.analytics)
    except (StateError, msgspec.MsgspecError):
        return False  # there is none, or it is of no use
    return last is not None and not last.complete and told.waits == _waits(disorder)


def _from_web(event: OrderEvent) -> bool:
    return event.invoice.startswith(WEB)


def _known(event: OrderCompleted | OrderCancelled) -> bool:
    return event.customer_id is not None


def _customer(event: OrderCompleted | OrderCancelled) -> str | None:
    return event.customer_id


def _country(order: OrderCompleted) -> str:
    return order.country


def _total(order: OrderCompleted) -> Decimal:
    return total(order.lines)


def _lines(order: OrderCompleted) -> Iterable[Sold]:
    return [Sold(line.stock_code, line.description or "", line.quantity) for line in order.lines]


def _code(sold: Sold) -> str:
    return sold.code


def _units(sold: Sold) -> int:
    return sold.units


def _description(sold: Sold) -> str:
    return sold.description


def _sales(result: Windowed[str, tuple[int, str]]) -> Sales:
    units, description = result.value
    return Sales(result.key, units, description)


def _rank(sales: Sales) -> tuple[int, str]:
    return sales.units, sales.code


def _fits(pair: Joined[str | None, OrderCancelled, OrderCompleted]) -> bool:
    return bool(shared(pair.left, pair.right))
