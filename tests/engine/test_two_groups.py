"""Two groups of one topic in one pipeline: an event's topic doesn't say which of them has read it."""

from __future__ import annotations

import uuid
from typing import Any

import anyio
import pytest

from reactor import Pipeline, RateLimit, topic

pytestmark = pytest.mark.anyio


async def test_what_only_the_other_group_has_got_is_not_committed() -> None:
    numbers = topic(f"memory:two-groups-{uuid.uuid4()}")
    got: list[Any] = []

    def reads(count: int) -> Pipeline:
        slow = numbers.subscribe("slow").rate_limit(RateLimit(1, 3600, 1)).map(lambda n: ("slow", n))
        fast = numbers.subscribe("fast").map(lambda n: ("fast", n))
        return Pipeline("reads", slow.merge(fast).take(count, volatile=True).to(got.append))

    async with numbers:
        await numbers.publish(list(range(10)))
        with anyio.fail_after(20):
            await reads(6).run()
        assert len({n for who, n in got if who == "slow"}) <= 1
        assert (await numbers.groups())["slow"] <= 1
        assert (await numbers.groups())["fast"] <= len([n for who, n in got if who == "fast"])


async def test_what_a_drain_leaves_behind_is_read_again() -> None:
    numbers = topic(f"memory:two-groups-{uuid.uuid4()}")
    got: list[Any] = []

    def reads() -> Pipeline:
        slow = numbers.subscribe("slow").map(lambda n: ("slow", n))
        fast = numbers.subscribe("fast").map(lambda n: ("fast", n))
        return Pipeline("reads", slow.merge(fast).batch(7).to(got.extend))

    async with numbers:
        await numbers.publish(list(range(10)))
        with anyio.fail_after(20):
            async with reads().start(drain=20):
                while len(got) < 14:
                    await anyio.sleep(0.01)
            assert len(got) == 14  # six are left
        for who in ("slow", "fast"):
            there = (await numbers.groups())[who]
            assert set(range(there)) <= {n for one, n in got if one == who}
