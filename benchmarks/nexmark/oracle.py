"""What each query must answer, over the whole list of events: plain Python, and nothing of reactor."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from .events import Auction, Bid, Event, Person

Rows = list[Any]

SECOND = 1000


def bids_of(events: list[Event]) -> list[Bid]:
    return [event for event in events if isinstance(event, Bid)]


def auctions_of(events: list[Event]) -> list[Auction]:
    return [event for event in events if isinstance(event, Auction)]


def people_of(events: list[Event]) -> list[Person]:
    return [event for event in events if isinstance(event, Person)]


def q0(events: list[Event]) -> Rows:
    return list(bids_of(events))


def q1(events: list[Event]) -> Rows:
    return [(bid.auction, bid.bidder, bid.price * 0.908, bid.date_time, bid.extra) for bid in bids_of(events)]


def q2(events: list[Event]) -> Rows:
    return [(bid.auction, bid.price) for bid in bids_of(events) if bid.auction % 123 == 0]


def q3(events: list[Event]) -> Rows:
    people = {person.id: person for person in people_of(events) if person.state in ("OR", "ID", "CA")}
    rows = []
    for auction in auctions_of(events):
        if auction.category == 10 and auction.seller in people:
            seller = people[auction.seller]
            rows.append((seller.name, seller.city, seller.state, auction.id))
    return rows


def sold(events: list[Event]) -> list[tuple[Auction, int]]:
    """The auctions that had a valid bid, and their highest price, in the order in which they closed."""
    auctions = {auction.id: auction for auction in auctions_of(events)}
    highest: dict[int, int] = {}
    for bid in bids_of(events):
        auction = auctions.get(bid.auction)
        if auction is not None and auction.date_time <= bid.date_time <= auction.expires:
            highest[auction.id] = max(bid.price, highest.get(auction.id, 0))
    closed = sorted(highest, key=lambda number: (auctions[number].expires, number))
    return [(auctions[number], highest[number]) for number in closed]


def q4(events: list[Event]) -> Rows:
    prices: dict[int, list[int]] = defaultdict(list)
    rows = []
    for auction, price in sold(events):
        so_far = prices[auction.category]
        so_far.append(price)
        rows.append((auction.category, sum(so_far) // len(so_far)))
    return rows


def q5(events: list[Event]) -> Rows:
    size, every = 10 * SECOND, 2 * SECOND
    windows: dict[int, Counter[int]] = defaultdict(Counter)
    for bid in bids_of(events):
        start = bid.date_time // every * every
        while start + size > bid.date_time:
            windows[start][bid.auction] += 1
            start -= every
    return [
        (start, auction, count)
        for start, counts in windows.items()
        for auction, count in counts.items()
        if count == max(counts.values())
    ]


def q6(events: list[Event]) -> Rows:
    prices: dict[int, list[int]] = defaultdict(list)
    rows = []
    for auction, price in sold(events):
        prices[auction.seller].append(price)
        last = prices[auction.seller][-10:]
        rows.append((auction.seller, auction.expires, sum(last) / len(last)))
    return rows


def q7(events: list[Event]) -> Rows:
    windows: dict[int, list[Bid]] = defaultdict(list)
    for bid in bids_of(events):
        windows[bid.date_time // (10 * SECOND)].append(bid)
    rows = []
    for bids in windows.values():
        highest = max(bid.price for bid in bids)
        rows += [
            (bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra)
            for bid in bids
            if bid.price == highest
        ]
    return rows


def q8(events: list[Event]) -> Rows:
    people = {person.id: person for person in people_of(events)}
    rows = []
    for auction in auctions_of(events):
        person = people.get(auction.seller)
        if person is not None and (person.date_time // (10 * SECOND) == auction.date_time // (10 * SECOND)):
            rows.append((person.id, person.name, auction.reserve))
    return rows


def in_order(rows: Iterable[Any]) -> Any:
    """The form in which two answers are compared where the order of rows is part of the answer."""
    return list(rows)


def in_any_order(rows: Iterable[Any]) -> Any:
    return Counter(rows)


def newest(columns: int) -> Any:
    """The later row takes the place of an earlier one with the same first columns, as in a table.

    How many rows there are counts too. Of events with one time the order isn't determined, and so isn't what
    was said between them.
    """

    def table(rows: Iterable[Any]) -> Any:
        rows = list(rows)
        return len(rows), {row[:columns]: row for row in rows}

    return table
