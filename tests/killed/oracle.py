"""What has to come out, by plain loops over the same events: no line of reactor has a part in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tests.killed.branches import EVERY, GAP, MINUTE, NEAR, SLIDING, TUMBLING
from tests.killed.events import Order, Paid

Plain = tuple[int, int, int, int]


def expected(orders: Sequence[Order], payments: Sequence[Paid]) -> dict[str, list[Plain]]:
    """The rows of each branch; their order counts for ``checked`` alone."""
    totals: dict[int, tuple[int, int]] = {}
    steps: list[Plain] = []
    once: dict[tuple[int, int], Plain] = {}
    for order in orders:
        amount, count = totals.get(order.user, (0, 0))
        totals[order.user] = amount, count = amount + order.amount, count + 1
        if count % 10 == 0:
            steps.append((order.user, 0, amount, count))
        once.setdefault((order.user, order.amount % 7), _row(order))
    batches = [orders[n : n + 37] for n in range(0, len(orders), 37)]
    return {
        "tumbling": _tumbling(orders),
        "sliding": _sliding(orders),
        "sessions": _sessions(orders),
        "minutes": _minutes(orders),
        "totals": [(user, 0, *total) for user, total in totals.items()],
        "steps": steps,
        "once": list(once.values()),
        "batches": [(b[0].number, b[-1].at, sum(each.amount for each in b), len(b)) for b in batches],
        "checked": [_row(order) for order in orders if order.number % 5 == 0],
        "as done": [_row(order) for order in orders if order.number % 5 == 1],
        "merged": [_row(order) for order in orders if order.amount < 10 or order.number % 3 == 0],
        "joined": list(_joined(orders, payments)),
    }


def _row(order: Order) -> Plain:
    return order.user, order.at, order.amount, order.number


def _tumbling(orders: Sequence[Order]) -> list[Plain]:
    sums: Counter[tuple[int, int]] = Counter()
    for order in orders:
        sums[order.user, order.at // TUMBLING * TUMBLING] += order.amount
    return [(user, start, value, TUMBLING) for (user, start), value in sums.items()]


def _sliding(orders: Sequence[Order]) -> list[Plain]:
    counts: Counter[tuple[int, int]] = Counter()
    for order in orders:
        last = order.at // EVERY * EVERY
        counts.update((order.user % 20, start) for start in range(last, last - SLIDING, -EVERY))
    return [(key, start, value, SLIDING) for (key, start), value in counts.items()]


def _sessions(orders: Sequence[Order]) -> list[Plain]:
    times: defaultdict[int, list[int]] = defaultdict(list)
    for order in orders:
        times[order.user].append(order.at)
    found: list[Plain] = []
    for user, each in times.items():
        each.sort()
        start = previous = each[0]
        count = 0
        for at in [*each, each[-1] + 2 * GAP]:
            if at - previous > GAP:
                found.append((user, start, count, previous + GAP - start))
                start, count = at, 0
            previous, count = at, count + 1
    return found


def _minutes(orders: Sequence[Order]) -> list[Plain]:
    amounts: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for order in orders:
        amounts[order.user, order.at // MINUTE].append(order.amount)
    told = Counter(user for user, _ in amounts)
    return [
        *((user, (minute + 1) * MINUTE, sum(each), len(each)) for (user, minute), each in amounts.items()),
        *((user, 0, minutes, 0) for user, minutes in told.items()),
    ]


def _joined(orders: Sequence[Order], payments: Sequence[Paid]) -> Iterable[Plain]:
    paid: defaultdict[int, list[Paid]] = defaultdict(list)
    for payment in payments:
        paid[payment.user].append(payment)
    for order in orders:
        for payment in paid[order.user]:
            if abs(order.at - payment.at) <= NEAR:
                yield order.user, order.at - payment.at, order.number, payment.number
