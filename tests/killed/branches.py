"""The streams: of each, what comes out doesn't depend on timing. ``oracle`` comes to the same by plain loops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel

from reactor import Context, Interval, Joined, Process, Session, Sliding, Stream, Tumbling, Windowed
from tests.killed.events import OUT_OF_ORDER, SECOND, Order, Paid, Row

MINUTE = 60 * SECOND
TUMBLING, EVERY, SLIDING, GAP, NEAR = (n * SECOND for n in (30, 15, 60, 20, 8))


class Minutes(Process[int, Order, Row]):
    """Tells of each minute of a user when it is over, and of all of them at the end."""

    def __init__(self) -> None:
        self.open: dict[int, list[int]] = {}
        self.told = 0

    def event(self, event: Order, context: Context[int]) -> Iterable[Row]:
        minute = event.at // MINUTE
        self.open.setdefault(minute, []).append(event.amount)
        context.at((minute + 1) * MINUTE)
        return ()

    def timer(self, time: int, context: Context[int]) -> Iterable[Row]:
        amounts = self.open.pop(time // MINUTE - 1)
        self.told += 1
        return [Row(context.key, time, sum(amounts), len(amounts))]

    def end(self, context: Context[int]) -> Iterable[Row]:
        return [Row(context.key, 0, self.told, len(self.open))]


async def checked(order: Order) -> Row:
    """Now and then it takes a moment."""
    if order.number % 40 < 2:
        await anyio.sleep(0.001)
    else:
        await anyio.lowlevel.checkpoint()
    return Row(order.user, order.at, order.amount, order.number)


def branches(orders: Stream[Order], payments: Stream[Paid]) -> dict[str, Stream[Row]]:
    """All share the stream of orders; ``checked`` has to come in order, and is for a topic."""
    timed = orders.event_time(_at, out_of_order=OUT_OF_ORDER / SECOND, unit="us")
    by_user = timed.key_by(_user)
    paid = payments.event_time(_at, unit="us").key_by(_user)
    cheap, dear = orders.split(_is_cheap)
    running = orders.key_by(_user).scan(_add, (0, 0), name="running")
    return {
        "tumbling": by_user.window(Tumbling(TUMBLING / SECOND), name="tumbling").sum(_amount).map(_windowed),
        "sliding": (
            timed.key_by(lambda order: order.user % 20)
            .window(Sliding(SLIDING / SECOND, every=EVERY / SECOND), name="sliding")
            .count()
            .map(_windowed)
        ),
        "sessions": by_user.window(Session(GAP / SECOND), name="sessions").count().map(_windowed),
        "minutes": by_user.process(Minutes, name="minutes"),
        "totals": running.map(lambda state: Row(state[0], 0, state[1][0], state[1][1])),
        "steps": running.filter(lambda state: state[1][1] % 10 == 0).map(
            lambda state: Row(state[0], 0, state[1][0], state[1][1])
        ),
        "once": orders.distinct(lambda order: (order.user, order.amount % 7), name="once").map(_row),
        "batches": orders.batch(37, name="batches").map(_batch),
        "checked": orders.filter(lambda order: order.number % 5 == 0).map(
            checked, concurrency=8, name="checked"
        ),
        "as done": (
            orders.filter(lambda order: order.number % 5 == 1).map(
                checked, concurrency=8, ordered=False, name="as done"
            )
        ),
        "merged": cheap.map(checked, concurrency=4, name="cheap").merge(
            dear.filter(lambda order: order.number % 3 == 0).map(_row)
        ),
        "joined": by_user.join(paid, Interval(before=NEAR / SECOND, after=NEAR / SECOND), name="joined").map(
            _joined
        ),
    }


def _at(event: Order | Paid) -> int:
    return event.at


def _user(event: Order | Paid) -> int:
    return event.user


def _amount(order: Order) -> int:
    return order.amount


def _is_cheap(order: Order) -> bool:
    return order.amount < 10


def _add(state: tuple[int, int], order: Order) -> tuple[int, int]:
    return state[0] + order.amount, state[1] + 1


def _row(order: Order) -> Row:
    return Row(order.user, order.at, order.amount, order.number)


def _windowed(result: Windowed[Any, int]) -> Row:
    return Row(result.key, result.window.start, result.value, result.window.end - result.window.start)


def _batch(orders: list[Order]) -> Row:
    return Row(orders[0].number, orders[-1].at, sum(map(_amount, orders)), len(orders))


def _joined(pair: Joined[int, Order, Paid]) -> Row:
    return Row(pair.key, pair.left.at - pair.right.at, pair.left.number, pair.right.number)
