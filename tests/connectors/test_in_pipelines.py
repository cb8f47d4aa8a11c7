"""Topics and files at the ends of pipelines."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reactor import (
    DeadLetters,
    DecodeError,
    Fail,
    Pipeline,
    StoredLetter,
    Stream,
    Topic,
    files,
    topic,
)

pytestmark = pytest.mark.anyio


class Order(msgspec.Struct):
    id: str
    total: Decimal


@pytest.fixture(params=["sqlite", "memory"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/shop.db/" if request.param == "sqlite" else f"memory:{tmp_path.name}-"


def orders(*ids: int) -> list[Order]:
    return [Order(str(id), Decimal(id) / 4) for id in ids]


async def ids(topic: Topic[Any]) -> list[str]:
    return [record.value.id async for record in topic.records()]


async def test_from_a_file_to_a_topic_to_a_topic(broker: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("id,total\n" + "".join(f"{n},{n}.25\n" for n in range(3000)))
    all, big = topic(f"{broker}all", Order), topic(f"{broker}big", Order)
    await Pipeline("load", Stream(files.csv(path, Order)).to(all, key=lambda order: order.id)).run()
    chosen = all.subscribe("choose", follow=False).filter(lambda order: order.total > 2000)
    for _ in range(2):  # the second time there is nothing left to do
        await Pipeline("choose", chosen.to(big, id=lambda order: order.id)).run()
    assert await all.position("choose") == 3000
    assert await ids(big) == [str(n) for n in range(2000, 3000)]
    assert await big.read().map(lambda order: order.total).fold(lambda a, b: a + b, Decimal()) == Decimal(
        "2499750"
    )


async def test_a_sink_that_fails_leaves_the_position_before_the_event(broker: str) -> None:
    shop = topic(f"{broker}orders", Order)
    await shop.publish(orders(*range(100)))
    got: list[str] = []

    def sink(order: Order) -> None:
        if order.id == "60" and len(got) == 60:
            raise OSError("broken")
        got.append(order.id)

    with pytest.raises(OSError, match="broken"):
        await Pipeline("p", shop.subscribe("g", follow=False).to(sink, on_error=Fail())).run()
    assert (await shop.position("g") or 0) <= 60
    got.append("again")
    await Pipeline("p", shop.subscribe("g", follow=False).to(sink)).run()
    assert set(got) == {str(n) for n in range(100)} | {"again"}
    assert await shop.position("g") == 100


async def test_records_that_do_not_fit_go_to_the_dead_letters_and_reading_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/shop.db/"
    await topic(f"{url}orders").publish({"id": "a"}, {"id": "b"})
    shop, dead = topic(f"{url}orders", Order), topic(f"{url}dead", StoredLetter)
    await shop.publish(orders(1))
    got: list[str] = []
    stream = shop.subscribe("g", follow=False).to(lambda order: got.append(order.id))
    await Pipeline("p", stream, dead_letters=dead).run()
    assert got == ["1"]
    assert await shop.position("g") == 3
    letters = [record.value async for record in dead.records()]
    assert [(letter.topic, letter.position, letter.raw) for letter in letters] == [
        ("orders", 0, b'{"id":"a"}'),
        ("orders", 1, b'{"id":"b"}'),
    ]
    await shop.reset("g", 0)
    await Pipeline("p", stream, dead_letters=dead).run()
    assert await dead.length() == 2  # the same ids change nothing


async def test_rows_that_do_not_fit_go_to_the_dead_letters_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id,total\n1,1.5\n2,much\n3\n4,\xa34\n5,5\n")
    dead = topic(f"sqlite:{tmp_path}/shop.db/dead", StoredLetter)
    read = Stream(files.csv(path, Order)).map(lambda order: order.id)
    got: list[str] = []
    await Pipeline("p", read.to(got.append, on_error=DeadLetters()), dead_letters=dead).run()
    assert got == ["1", "5"]
    letters = [record.value async for record in dead.records()]
    assert [(letter.topic, letter.position, letter.raw) for letter in letters] == [
        (str(path), 3, b"2,much"),
        (str(path), 4, b"3"),
        (str(path), 5, b"4,\xa34"),
    ]
    assert "column total ('much')" in letters[0].error


async def test_without_dead_letters_a_row_that_does_not_fit_fails_the_run_after_those_before_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("id,total\n1,1.5\n2,much\n")
    got: list[Order] = []
    with pytest.raises(DecodeError, match=r"orders.csv, line 3, column total \('much'\)"):
        await Pipeline("p", Stream(files.csv(path, Order)).to(got.append)).run()
    assert got == [Order("1", Decimal("1.5"))]


async def test_a_file_of_lines_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    await Pipeline("p", Stream(orders(*range(2000))).to(files.jsonl_sink(path))).run()
    assert await Stream(files.jsonl(path, Order)).collect() == orders(*range(2000))
