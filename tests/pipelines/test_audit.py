"""The audit file: what was written can't be changed unnoticed, and a torn end costs nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from pipelines.orders.audit import AuditFault, AuditFile, record, verify
from pipelines.orders.events import Line, OrderCompleted, OrderEvent, customer_or_invoice, invoice_of
from pipelines.orders.home import Home
from reactor import Pipeline

pytestmark = pytest.mark.asyncio


def order(number: int) -> OrderCompleted:
    return OrderCompleted(
        invoice=str(number),
        customer_id="17850",
        country="United Kingdom",
        placed_at=datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
        lines=(Line("85123A", 'HEART "WHITE"', number, Decimal("2.55")),),
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def publish(home: Home, *events: OrderEvent) -> None:
    await home.orders().publish(events, key=customer_or_invoice, id=invoice_of)


def pipeline(home: Home) -> Pipeline:
    orders = home.orders()
    audited = orders.subscribe("audit", follow=False).to(AuditFile(home.audit, orders, "audit"))
    return Pipeline("audit", audited)


async def test_each_event_has_a_record_at_its_position(home: Home) -> None:
    await publish(home, *map(order, range(1, 6)))
    await pipeline(home).run()
    assert verify(home.audit) == 5
    lines = home.audit.read_bytes().splitlines()
    assert b'"n":3,"event":"OrderCompleted","data":{"invoice":"4"' in lines[3]


async def test_a_second_run_goes_on_where_the_first_was(home: Home) -> None:
    await publish(home, order(1), order(2))
    await pipeline(home).run()
    await publish(home, order(3))
    await pipeline(home).run()
    assert verify(home.audit) == 3


async def test_events_that_come_again_are_recorded_once(home: Home) -> None:
    await publish(home, *map(order, range(1, 6)))
    await pipeline(home).run()
    before = home.audit.read_bytes()
    await home.orders().reset("audit", 2)  # the positions after 2 were never committed
    await publish(home, order(6))
    await pipeline(home).run()
    assert verify(home.audit) == 6
    assert home.audit.read_bytes().startswith(before)


@pytest.mark.parametrize("torn", [1, 100])
async def test_a_torn_last_line_is_cut_off_and_written_again(home: Home, torn: int) -> None:
    await publish(home, *map(order, range(1, 6)))
    await pipeline(home).run()
    whole = home.audit.read_bytes()
    home.audit.write_bytes(whole[:-torn])
    with pytest.raises(AuditFault, match=r"record 4 \(line 5\) is cut off"):
        verify(home.audit)
    await home.orders().reset("audit", 3)
    await pipeline(home).run()
    assert home.audit.read_bytes() == whole


async def test_records_that_are_lost_stop_it(home: Home) -> None:
    await publish(home, *map(order, range(1, 6)))
    await pipeline(home).run()
    home.audit.write_bytes(b"".join(home.audit.read_bytes().splitlines(keepends=True)[:3]))
    await publish(home, order(6))
    with pytest.raises(AuditFault, match="has 3 records, but 5 events were audited: records are lost"):
        await pipeline(home).run()


async def test_a_file_of_another_topic_stops_it(home: Home) -> None:
    line, _ = record(0, order(7), "0" * 64)
    home.audit.write_bytes(line)
    await publish(home, order(1))
    with pytest.raises(AuditFault, match="record 0 is of 7, the topic has 1 there"):
        await pipeline(home).run()


def swap(lines: list[bytes]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def forge(lines: list[bytes]) -> None:
    """A record with a hash of its own that is right."""
    lines[1], _ = record(1, order(99), "0" * 64)


def change(old: bytes, new: bytes) -> Callable[[list[bytes]], None]:
    def changed(lines: list[bytes]) -> None:
        assert old in lines[1]
        lines[1] = lines[1].replace(old, new, 1)

    return changed


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (change(b'"quantity":2', b'"quantity":3'), r"record 1 \(line 2\) was changed"),
        (change(b'"}\n', b'" }\n'), r"record 1 \(line 2\) was changed"),
        (change(b'"hash":"', b'"hash":"0'), r"record 1 \(line 2\) was changed"),
        (change(b"{", b""), r"record 1 \(line 2\) can't be read"),
        (lambda lines: lines.pop(1), r"record 1 \(line 2\) has number 2: records are missing"),
        (lambda lines: lines.insert(1, lines[0]), r"record 1 \(line 2\) has number 0"),
        (swap, r"record 1 \(line 2\) has number 2"),
        (forge, r"record 1 \(line 2\) doesn't follow the record before it"),
    ],
)
async def test_every_change_is_found(home: Home, tamper: Callable[[list[bytes]], object], fault: str) -> None:
    await publish(home, *map(order, range(1, 5)))
    await pipeline(home).run()
    lines = home.audit.read_bytes().splitlines(keepends=True)
    tamper(lines)
    home.audit.write_bytes(b"".join(lines))
    with pytest.raises(AuditFault, match=fault):
        verify(home.audit)


async def test_any_changed_byte_is_found(home: Home) -> None:
    await publish(home, order(1), order(2))
    await pipeline(home).run()
    whole = home.audit.read_bytes()
    for place in range(len(whole)):
        home.audit.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(AuditFault):
            verify(home.audit)
