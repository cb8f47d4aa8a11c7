"""The events of NEXMark, the same for the same seed: of every fifty one person, three auctions, 46 bids.

Mix, identifiers, skew, prices and times follow the generator of nexmark/nexmark and Apache Beam. Those have no
canonical stream of bytes, so neither have we.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

FIRST_PERSON = FIRST_AUCTION = 1000
FIRST_CATEGORY = 10
START_MS = 1_436_918_400_000
"""2015-07-15T00:00:00Z."""

EPOCH_SIZE, AUCTIONS = 50, 3
HOT = 100
"""One identifier in so many is hot."""
AHEAD = 10
"""Some events name a person or an auction that is only to come: one of the next so many."""

STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
CITIES = (
    "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent",
    "Cheyenne",
)  # fmt: skip
FIRST_NAMES = (
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
)  # fmt: skip
LAST_NAMES = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")
CHANNELS = ("web", "phone", "partner", "floor")


class Person(msgspec.Struct, gc=False):
    """Times are milliseconds since the epoch."""

    id: int
    name: str
    email: str
    credit_card: str
    city: str
    state: str
    date_time: int
    extra: str


class Auction(msgspec.Struct, gc=False):
    id: int
    item_name: str
    description: str
    initial_bid: int
    reserve: int
    date_time: int
    expires: int
    seller: int
    category: int
    extra: str


class Bid(msgspec.Struct, gc=False):
    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    date_time: int
    extra: str


Event = Person | Auction | Bid


@dataclass(frozen=True)
class Market:
    """How events are made.

    ``rate`` is events per second of event time. ``shuffled`` events at a time come out of order (1: none do).
    ``open_auctions`` and ``active_people`` are how many of each an event chooses from.
    """

    seed: int = 1
    rate: int = 10_000
    shuffled: int = 1
    open_auctions: int = 100
    active_people: int = 1000


class _Texts:
    """Strings made once: their lengths vary by a fifth around the average, their content says nothing."""

    def __init__(self, dice: random.Random, average: int) -> None:
        letters = "abcdefghijklmnopqrstuvwxyz "
        self._texts = [
            "".join(dice.choices(letters, k=dice.randint(average * 4 // 5, average * 6 // 5)))
            for _ in range(64)
        ]
        self._dice = dice.random

    def __call__(self) -> str:
        return self._texts[int(self._dice() * 64)]


def generate(count: int, market: Market = Market()) -> Iterator[Event]:
    """Yield the first ``count`` events."""
    if market.shuffled <= 1:
        yield from _in_order(count, market)
        return
    in_order = _in_order(-(-count // market.shuffled) * market.shuffled, market)
    left = count
    while left > 0:
        group = [next(in_order) for _ in range(market.shuffled)]
        # A prime, so that every place comes once, unless it divides the group's size.
        step = 953 if market.shuffled % 953 else 947
        for place in range(min(market.shuffled, left)):
            yield group[place * step % market.shuffled]
        left -= market.shuffled


def _in_order(count: int, market: Market) -> Iterator[Event]:
    dice = random.Random(market.seed)
    chance = dice.random
    item, description, url = _Texts(dice, 16), _Texts(dice, 80), _Texts(dice, 20)
    extra_of_person, extra_of_auction, extra_of_bid = _Texts(dice, 60), _Texts(dice, 280), _Texts(dice, 8)
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    emails = [name.lower().replace(" ", "@") + ".com" for name in names]
    rate, active, open_auctions = market.rate, market.active_people, market.open_auctions
    # How long it takes until as many auctions have been opened as are open at a time.
    ahead = open_auctions * EPOCH_SIZE // AUCTIONS

    def time_of(number: int) -> int:
        return START_MS + number * 1000 // rate

    def price() -> int:
        return round(10 ** (6 * chance()) * 100)

    def someone() -> int:
        people = min(last_person + 1, active)
        return last_person + 1 - people + int(chance() * (people + AHEAD))

    for number in range(count):
        last_person, offset = divmod(number, EPOCH_SIZE)
        time = time_of(number)
        if offset > AUCTIONS:
            last_auction = AUCTIONS * last_person + AUCTIONS - 1
            if chance() < 1 / 2:
                auction = last_auction // HOT * HOT
            else:
                oldest = max(last_auction - open_auctions, 0)
                auction = oldest + int(chance() * (last_auction + AHEAD - oldest + 1))
            bidder = last_person // HOT * HOT + 1 if chance() < 3 / 4 else someone()
            yield Bid(
                FIRST_AUCTION + auction,
                FIRST_PERSON + bidder,
                price(),
                CHANNELS[int(chance() * len(CHANNELS))],
                url(),
                time,
                extra_of_bid(),
            )
        elif offset == 0:
            who = int(chance() * len(names))
            yield Person(
                FIRST_PERSON + last_person,
                names[who],
                emails[who],
                " ".join(f"{int(chance() * 10_000):04}" for _ in range(4)),
                CITIES[int(chance() * len(CITIES))],
                STATES[int(chance() * len(STATES))],
                time,
                extra_of_person(),
            )
        else:
            initial = price()
            seller = last_person // HOT * HOT if chance() < 3 / 4 else someone()
            span = max(2 * (time_of(number + ahead) - time), 1)
            yield Auction(
                FIRST_AUCTION + AUCTIONS * last_person + offset - 1,
                item(),
                description(),
                initial,
                initial + price(),
                time,
                time + 1 + int(chance() * span),
                FIRST_PERSON + seller,
                FIRST_CATEGORY + int(chance() * 5),
                extra_of_auction(),
            )
