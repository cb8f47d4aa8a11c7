"""Records that nobody wants, at the end of a topic, are passed over: the group's position moves on."""

from pathlib import Path

import anyio
import msgspec
import pytest

from reactor import Pipeline, StoredLetter, topic

pytestmark = pytest.mark.anyio


class Wanted(msgspec.Struct, tag=True):
    n: int


class Other(msgspec.Struct, tag=True):
    n: int


@pytest.mark.parametrize("scheme", ["sqlite", "memory"])
async def test_the_group_moves_past_records_of_other_types(tmp_path: Path, scheme: str) -> None:
    shop = topic(
        f"sqlite:{tmp_path}/shop.db/orders" if scheme == "sqlite" else f"memory:{tmp_path.name}",
        Wanted,
        Other,
    )
    await shop.publish(Other(1))
    with anyio.fail_after(10):
        async with Pipeline("p", shop.subscribe("g", Wanted).discard()).start():
            for number, event in enumerate([Wanted(1), Other(2), Other(3)], 1):
                while await shop.position("g") != number:
                    await anyio.lowlevel.checkpoint()
                await shop.publish(event)
            while await shop.position("g") != 4:
                await anyio.lowlevel.checkpoint()


async def test_a_record_that_cannot_be_read_is_stored_at_once(tmp_path: Path) -> None:
    path = f"sqlite:{tmp_path}/shop.db"
    await topic(f"{path}/numbers").publish("poison")
    dead = topic(f"{path}/dead", StoredLetter)
    numbers = topic(f"{path}/numbers", int)
    with anyio.fail_after(10):
        async with Pipeline("p", numbers.subscribe("g").discard(), dead_letters=dead).start():
            while await numbers.position("g") != 1:
                await anyio.lowlevel.checkpoint()
            assert await dead.length() == 1
