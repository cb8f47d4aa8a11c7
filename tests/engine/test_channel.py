"""The channel between two stages: bounded in events, chunks are cut and joined, marks keep their place."""

from typing import Any

import anyio
import pytest

from reactor import Overflow
from reactor.engine.channel import Census, Channel, Outlet, Parker
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from tests.engine.scripted import settle


def chunk(*values: int, origins: bool = False) -> Chunk:
    return Chunk(list(values), ([f"o{n}" for n in values],) if origins else ())


def content(channel: Channel) -> list[Any]:
    """What is taken out, chunk by chunk, mark by mark."""
    found: list[Any] = []
    while (item := channel.take_now(1_000_000)) is not None:
        found.append(list(item.values) if isinstance(item, Chunk) else item)
    return found


def test_what_comes_in_small_goes_out_large() -> None:
    channel = Channel("a", "b", 100)
    for n in range(5):
        channel.push(chunk(n))
    assert content(channel) == [[0, 1, 2, 3, 4]]


def test_no_more_than_asked_for_goes_out() -> None:
    channel = Channel("a", "b", 100)
    channel.push(chunk(0, 1, 2, 3, 4))
    channel.push(chunk(5, 6))
    taken = [list(item.values) for _ in range(4) if isinstance(item := channel.take_now(2), Chunk)]
    assert taken == [[0, 1], [2, 3], [4, 5], [6]]
    assert channel.take_now(2) is None
    assert channel.size == 0


def test_columns_are_cut_and_joined_with_their_values() -> None:
    channel = Channel("a", "b", 100)
    channel.push(chunk(0, 1, 2, origins=True))
    channel.push(chunk(3, origins=True))
    for expected in ([0, 1], [2, 3]):
        item = channel.take_now(2)
        assert isinstance(item, Chunk)
        assert list(item.values) == expected
        assert [list(column) for column in item.columns] == [[f"o{n}" for n in expected]]


def test_a_chunk_that_is_shared_is_never_changed() -> None:
    shared = chunk(0, 1, 2)
    left, right = Channel("a", "b", 100), Channel("a", "c", 100)
    for channel in (left, right):
        channel.push(shared)
        channel.push(chunk(3))
    left.take_now(2)
    left.take_now(9)
    assert list(shared.values) == [0, 1, 2]
    assert content(right) == [[0, 1, 2, 3]]


def test_marks_keep_their_place_between_the_events() -> None:
    channel = Channel("a", "b", 100)
    for item in (chunk(1), Barrier(1), chunk(2), chunk(3), Watermark(5), chunk(4), End()):
        channel.push(item)
    assert content(channel) == [[1], Barrier(1), [2, 3], Watermark(5), [4], End()]


def test_marks_take_no_room() -> None:
    channel = Channel("a", "b", 1)
    for number in range(10):
        channel.push(Barrier(number))
    assert channel.offer(chunk(1), 0) == 1
    assert channel.size == 1


def test_of_watermarks_that_follow_each_other_the_last_says_it_all() -> None:
    channel = Channel("a", "b", 100)
    for time in (1, 2, 3):
        channel.push(Watermark(time))
    channel.push(Barrier(1))
    channel.push(Watermark(4))
    assert content(channel) == [Watermark(3), Barrier(1), Watermark(4)]


@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
def test_an_offer_adds_what_there_is_room_for(capacity: int) -> None:
    channel = Channel("a", "b", capacity)
    given, row = chunk(0, 1, 2, 3, 4), 0
    seen: list[Any] = []
    while row < 5:
        row = channel.offer(given, row)
        assert channel.size <= capacity
        seen += [n for part in content(channel) for n in part]
    assert seen == [0, 1, 2, 3, 4]
    assert channel.peak <= capacity


def test_a_full_channel_takes_nothing() -> None:
    channel = Channel("a", "b", 2)
    channel.push(chunk(1, 2))
    assert channel.offer(chunk(3), 0) == 0
    assert content(channel) == [[1, 2]]


def test_a_channel_that_was_left_swallows_everything() -> None:
    channel = Channel("a", "b", 2)
    channel.push(chunk(1))
    channel.leave()
    assert channel.offer(chunk(1, 2, 3), 0) == 3
    channel.push(Barrier(1))
    assert channel.take_now(9) is None
    assert channel.size == 0


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop_oldest", [[3, 4, 5]]), ("drop_newest", [[0, 1, 2]])],
)
def test_lossy_channels_keep_as_many_as_they_have_room_for(overflow: Any, kept: list[Any]) -> None:
    channel = Channel("a", "b", 3, overflow)
    for start in (0, 2, 4):
        assert channel.offer(chunk(start, start + 1), 0) == 2
        assert channel.size <= 3
    assert channel.dropped == 3
    assert content(channel) == kept


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop_oldest", [[7, 8, 9]]), ("drop_newest", [[0, 1, 2]])],
)
def test_one_chunk_larger_than_the_channel(overflow: Any, kept: list[Any]) -> None:
    channel = Channel("a", "b", 3, overflow)
    channel.offer(chunk(*range(10)), 0)
    assert content(channel) == kept
    assert channel.dropped == 7


def test_dropping_the_oldest_keeps_the_marks() -> None:
    channel = Channel("a", "b", 2, "drop_oldest")
    for item in (chunk(0), Barrier(1), chunk(1), Watermark(5)):
        channel.push(item)
    channel.offer(chunk(2, 3), 0)
    assert content(channel) == [Barrier(1), Watermark(5), [2, 3]]


def test_an_error_channel_raises_and_says_how_many() -> None:
    channel = Channel("a", "buffer(2, error)", 2, "error")
    channel.offer(chunk(0, 1), 0)
    with pytest.raises(Overflow, match=r"buffer\(2, error\): 2 of 2 events are waiting and 1 more came"):
        channel.offer(chunk(2), 0)


@pytest.mark.anyio
async def test_put_waits_for_room_at_the_slowest_and_gives_the_others_what_they_have_room_for() -> None:
    census = Census()
    census.alive = 99
    slow, quick = Channel("a", "slow", 2), Channel("a", "quick", 100)
    done: list[bool] = []

    async def put() -> None:
        await Outlet([slow, quick]).put(chunk(0, 1, 2, 3, 4), Parker(census))
        done.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put)
        await settle()
        assert not done
        assert content(quick) == [[0, 1, 2, 3, 4]]
        assert content(slow) == [[0, 1]]
        await settle()
        assert content(slow) == [[2, 3]]
        await settle()
        assert content(slow) == [[4]]
    assert done
    assert slow.blocked > 0
    assert quick.blocked == 0


@pytest.mark.anyio
async def test_put_is_let_go_when_the_slow_reader_leaves() -> None:
    census = Census()
    census.alive = 99
    slow, quick = Channel("a", "slow", 1), Channel("a", "quick", 100)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Outlet([slow, quick]).put, chunk(0, 1, 2), Parker(census))
        await settle()
        slow.leave()
    assert content(quick) == [[0, 1, 2]]
