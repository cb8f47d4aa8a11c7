"""The queries of NEXMark as reactor pipelines: each takes the stream of events and returns the stream of answers.

Where the versions of the benchmark differ: q3 keeps people and auctions for ten minutes, q4 and q6 look at closed
auctions, q5 and q7 at windows of ten seconds, q8 gives a row per auction (as in Beam).
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from reactor import Context, Process, Sliding, Stream, Tumbling, Windowed

from .events import Auction, Bid, Event, Person

T = TypeVar("T")
E = TypeVar("E", bound=Event)

OUT_OF_ORDER = 4
"""Seconds: the bound of the SQL version."""

LOCAL = ("OR", "ID", "CA")


def timed(events: Stream[E]) -> Stream[E]:
    """What a query doesn't look at is best left out before."""
    return events.event_time(lambda event: event.date_time, out_of_order=OUT_OF_ORDER, unit="ms")


def q0(events: Stream[Event]) -> Stream[Bid]:
    """All bids, as they are."""
    return events.of_type(Bid)


def q1(events: Stream[Event]) -> Stream[tuple[int, int, float, int, str]]:
    """Every bid in euros."""
    return events.of_type(Bid).map(lambda b: (b.auction, b.bidder, b.price * 0.908, b.date_time, b.extra))


def q2(events: Stream[Event]) -> Stream[tuple[int, int]]:
    """The bids on some auctions."""
    return events.of_type(Bid).filter(lambda b: b.auction % 123 == 0).map(lambda b: (b.auction, b.price))


# q3: who in three states sells what is in category 10? ------------------------------------------------------


class LocalItems(Process[int, Person | Auction, tuple[str, str, str, int]]):
    """Keeps a person for the auctions to come, and auctions until their person is there."""

    def __init__(self) -> None:
        self.person: Person | None = None
        self.auctions: list[Auction] = []

    def event(self, event: Person | Auction, context: Context[int]) -> Iterable[tuple[str, str, str, int]]:
        if isinstance(event, Person):
            self.person = event
        else:
            self.auctions.append(event)
        if self.person is None:
            return ()
        found, self.auctions, who = self.auctions, [], self.person
        return [(who.name, who.city, who.state, auction.id) for auction in found]


def q3(events: Stream[Event]) -> Stream[tuple[str, str, str, int]]:
    both = events.of_type(Person, Auction)
    wanted = both.filter(lambda e: e.state in LOCAL if isinstance(e, Person) else e.category == 10)
    return (
        timed(wanted)
        .key_by(lambda e: e.id if isinstance(e, Person) else e.seller)
        .process(LocalItems, ttl=600)
    )


# q4 and q6: what were closed auctions sold for? -------------------------------------------------------------


class Sale(Process[int, Auction | Bid, tuple[Auction, int]]):
    """When an auction has closed: the auction, and the highest price that was bid while it was open.

    A bid can be there before its auction: it waits until the watermark says that none will come.
    """

    def __init__(self) -> None:
        self.auction: Auction | None = None
        self.bids: list[Bid] = []

    def event(self, event: Auction | Bid, context: Context[int]) -> None:
        if isinstance(event, Auction):
            self.auction = event
            context.at(behind(event.expires))
        else:
            self.bids.append(event)
            if self.auction is None:
                context.at(behind(event.date_time))

    def timer(self, time: int, context: Context[int]) -> Iterable[tuple[Auction, int]]:
        auction = self.auction
        if auction is None:
            self.bids = [bid for bid in self.bids if behind(bid.date_time) > time]
            if not self.bids:
                context.forget()
        elif time == behind(auction.expires):
            context.forget()
            valid = [b.price for b in self.bids if auction.date_time <= b.date_time <= auction.expires]
            if valid:
                return [(auction, max(valid))]
        return ()


def behind(date_time: int) -> int:
    """When the watermark is here (microseconds), all events up to and with this millisecond have come."""
    return (date_time + 1) * 1000


def sold(events: Stream[Event]) -> Stream[tuple[Auction, int]]:
    both = timed(events.of_type(Auction, Bid))
    return both.key_by(lambda e: e.id if isinstance(e, Auction) else e.auction).process(Sale)


def q4(events: Stream[Event]) -> Stream[tuple[int, int]]:
    """The average price of each category, again with each auction that closes."""

    def total(state: tuple[int, int], sale: tuple[Auction, int]) -> tuple[int, int]:
        return state[0] + sale[1], state[1] + 1

    totals = sold(events).key_by(lambda sale: sale[0].category).scan(total, (0, 0))
    return totals.starmap(lambda category, total: (category, total[0] // total[1]))


Closed = tuple[int, int, int]
"""When an auction closed, its id, its price."""


def q6(events: Stream[Event]) -> Stream[tuple[int, int, float]]:
    """The average price of each seller's last ten auctions, again with each that closes."""

    def last_ten(state: tuple[Closed, ...], sale: tuple[Auction, int]) -> tuple[Closed, ...]:
        auction, price = sale
        return tuple(sorted((*state, (auction.expires, auction.id, price)))[-10:])

    none: tuple[Closed, ...] = ()
    sales = sold(events).key_by(lambda sale: sale[0].seller).scan(last_ten, none)
    return sales.starmap(lambda seller, last: (seller, last[-1][0], sum(c[2] for c in last) / len(last)))


# Windows ----------------------------------------------------------------------------------------------------


def all_highest(by: Callable[[T], int]) -> Callable[[list[T], T], list[T]]:
    """A fold that keeps the event with the largest number, and all that are equal to it."""

    def keep(best: list[T], event: T) -> list[T]:
        if not best or by(event) > by(best[0]):
            return [event]
        if by(event) == by(best[0]):
            best.append(event)
        return best

    return keep


def q5(events: Stream[Event], size: float = 10, every: float = 2) -> Stream[tuple[int, int, int]]:
    """The auctions with the most bids in the last ten seconds, every two seconds."""

    def count_of(result: Windowed[int, int]) -> int:
        return result.value

    bids = timed(events.of_type(Bid)).key_by(lambda bid: bid.auction)
    counts = bids.window(Sliding(size, every=every)).count()
    # What a window gives has its end as event time: all results of one sliding window meet in one of these.
    hottest = counts.window(Tumbling(every)).fold(all_highest(count_of), factory=list[Windowed[int, int]])
    return hottest.flat_map(lambda found: [(c.window.start // 1000, c.key, c.value) for c in found.value])


def q7(events: Stream[Event]) -> Stream[tuple[int, int, int, int, str]]:
    """The highest bids of every ten seconds."""

    def price_of(bid: Bid) -> int:
        return bid.price

    bids = timed(events.of_type(Bid)).window(Tumbling(10))
    highest = bids.fold(all_highest(price_of), factory=list[Bid])
    return highest.flat_map(
        lambda found: [(b.auction, b.bidder, b.price, b.date_time, b.extra) for b in found.value]
    )


def q8(events: Stream[Event]) -> Stream[tuple[int, str, int]]:
    """Who registered and opened an auction in the same ten seconds: a row for each auction."""
    both = timed(events.of_type(Person, Auction))
    people = both.of_type(Person).key_by(lambda person: person.id)
    auctions = both.of_type(Auction).key_by(lambda auction: auction.seller)
    pairs = people.join(auctions, Tumbling(10))
    return pairs.map(lambda found: (found.value[0].id, found.value[0].name, found.value[1].reserve))
