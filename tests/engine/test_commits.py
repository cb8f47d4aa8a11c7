"""Positions are committed once all sinks have what came before them: after the flush, never past a failure."""

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Cancelled, DeadLetter, DeadLetters, Pipeline, Record, Skip, Stream
from tests.engine.scripted import PATIENCE, Gate, Log, Probe, settle
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What fails here."""


class Watching(Log[int]):
    """Checks at each commit that the sink has stored everything before it."""

    def __init__(self, values: Sequence[int], probe: Probe[int], **how: Any) -> None:
        super().__init__(values, **how)
        self.probe = probe

    async def commit(self, position: int) -> None:
        assert self.probe.stored[:position] == self.values[:position]
        await super().commit(position)


@pytest.mark.parametrize("capacity", [1, 7, 1024])
async def test_a_commit_comes_after_the_sinks_flush(capacity: int) -> None:
    async def write(events: Sequence[int]) -> None:
        await checkpoint()

    probe = Probe[int](on_write=write)
    log = Watching(range(500), probe)
    await Pipeline("p", Stream(log).to(probe), capacity=capacity, chunk=capacity, interval=0.001).run()
    assert log.committed == 500


async def test_positions_are_committed_while_events_flow() -> None:
    gate = Gate()

    async def write(events: Sequence[int]) -> None:
        if 50 in events:
            await gate()

    probe = Probe[int](on_write=write)
    log = Watching(range(100), probe, most=10)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).to(probe), capacity=10, chunk=10, interval=0.001).start():
            await gate.entered()
            await anyio.sleep(0.02)  # time for some intervals: nothing else may be committed meanwhile
            assert log.committed <= 50
            gate.open()
            await log.until_committed(100)
    assert len(log.commits) > 1


async def test_a_source_that_falls_idle_is_committed_soon_without_waiting_for_the_interval() -> None:
    log, probe = Log([1, 2, 3], follow=True), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).to(probe), interval=3600).start():
            await log.until_committed(3)
            log.append(4)
            await log.until_committed(4)
            assert log.commits == [3, 4]


async def test_the_end_commits_everything() -> None:
    log = Log(range(10))
    await Pipeline("p", Stream(log).discard(), interval=3600).run()
    assert log.committed == 10


async def test_a_drain_commits_what_reached_the_sinks() -> None:
    log, probe = Log(range(1000), follow=True, most=10), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).map(plus_one, concurrency=4).to(probe), interval=3600).start():
            await probe.until(100)
    assert log.committed == len(probe.stored)
    assert log.calls[-1] == "close"


async def test_a_cancelled_run_commits_no_more() -> None:
    log, gate = Log(range(100)), Gate()
    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream(log).to(gate), interval=0.001).start() as run:
            await gate.entered()
            run.cancel()
    assert log.committed == 0


async def test_never_past_a_failure() -> None:
    def at_50(n: int) -> int:
        if n == 50:
            raise Broken
        return n

    for build in BUILDS.values():
        log, probe = Log(range(100), most=10), Probe[Any]()
        with pytest.raises(Broken):
            stream = build(Stream(log).map(at_50))
            await Pipeline("p", stream.to(probe), capacity=10, chunk=10, interval=0.001).run()
        assert log.committed <= 50
        assert log.calls[-1] == "close"


async def test_never_past_a_sinks_failure() -> None:
    async def write(events: Sequence[int]) -> None:
        await checkpoint()
        if 50 in events:
            raise Broken

    probe = Probe[int](on_write=write)
    log = Log(range(100), most=10)
    with pytest.raises(Broken):
        await Pipeline("p", Stream(log).to(probe), capacity=10, chunk=10, interval=0.001).run()
    assert log.committed <= 50
    assert log.committed <= len(probe.stored)


async def test_never_past_a_failing_flush() -> None:
    async def flush() -> None:
        raise Broken

    log = Log(range(100))
    with pytest.raises(Broken):
        await Pipeline("p", Stream(log).to(Probe(on_flush=flush)), interval=0.001).run()
    assert log.committed == 0


async def test_all_sinks_must_have_it() -> None:
    log, gate, quick = Log(range(10), follow=True), Gate(), Probe[int]("quick")
    slow = Probe[int]("slow", on_write=gate)
    shared = Stream(log)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", shared.to(quick), shared.to(slow), interval=0.001).start():
            await quick.until(10)
            await gate.entered()
            await anyio.sleep(0.01)
            assert log.commits == []
            gate.open()
            await log.until_committed(10)


async def spin(n: Any) -> Any:
    for _ in range(hash(str(n)) % 4):
        await checkpoint()
    return n


BUILDS: dict[str, Callable[[Stream[int]], Stream[Any]]] = {
    "nothing": lambda s: s,
    "buffer": lambda s: s.buffer(3),
    "map": lambda s: s.map(lambda n: n),
    "async map": lambda s: s.map(spin, concurrency=5),
    "unordered": lambda s: s.map(spin, concurrency=5, ordered=False),
    "by key": lambda s: s.map(spin, concurrency=5, key=lambda n: n % 3),
    "threads": lambda s: s.map(abs, threads=3),
    "batch": lambda s: s.batch(7).flat_map(lambda part: part),
    "timed batch": lambda s: s.batch(7, max_wait=0.002).flat_map(lambda part: part),
    "two batches": lambda s: s.batch(3).batch(3).flat_map(lambda parts: [n for part in parts for n in part]),
    "diamond": lambda s: s.filter(lambda n: n % 2).merge(s.filter(lambda n: n % 2 == 0)),
    "split": lambda s: (lambda parts: parts[0].merge(parts[1].map(spin, concurrency=2)))(
        s.split(lambda n: n % 2)
    ),
    "concat": lambda s: s.concat(Stream([])),
}


@pytest.mark.parametrize("what", BUILDS)
@pytest.mark.parametrize(("capacity", "chunk"), [(1, 1), (5, 3), (1024, 1024)])
async def test_at_every_commit_the_sink_has_what_came_before(what: str, capacity: int, chunk: int) -> None:
    probe = Probe[int]()

    class Checking(Log[int]):
        async def commit(self, position: int) -> None:
            missing = set(self.values[:position]) - set(probe.stored)
            assert not missing, f"committed {position}, not stored: {sorted(missing)}"
            await super().commit(position)

    log = Checking(range(200), most=9)
    stream = BUILDS[what](Stream(log))
    with anyio.fail_after(PATIENCE):
        await Pipeline("p", stream.to(probe), capacity=capacity, chunk=chunk, interval=0.001).run()
    assert log.committed == 200
    assert sorted(probe.stored) == list(range(200))


@pytest.mark.parametrize("what", BUILDS)
async def test_what_is_held_is_committed_in_the_end_while_the_source_goes_on(what: str) -> None:
    """A barrier waits behind a batch that isn't full, and passes once it is."""
    log, probe = Log(range(20), follow=True), Probe[Any]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", BUILDS[what](Stream(log)).to(probe), interval=0.005).start():
            # The barrier behind 20 events waits for those that fill the list.
            while log.committed < 20:
                log.append(len(log.values))
                await anyio.sleep(0.002)
            if "batch" not in what:
                await log.until_committed(len(log.values))
    assert log.committed <= len(log.values)


async def test_a_drain_drops_a_batch_that_is_not_full_and_leaves_it_uncommitted() -> None:
    """Over a source that can replay, it is read again."""
    log, probe = Log(range(10), follow=True), Probe[list[int]]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).batch(4).to(probe)).start():
            await probe.until(2)
            await settle()
    assert probe.stored == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert log.committed <= 8
    again, rest = Log(range(10), at=log.committed), Probe[list[int]]()
    await Pipeline("p", Stream(again).batch(4).to(rest)).run()
    read = {n for part in (*probe.stored, *rest.stored) for n in part}
    assert read == set(range(10))


async def test_of_two_branches_the_one_that_dropped_what_it_held_decides() -> None:
    log, direct, lists = Log(range(10), follow=True), Probe[int]("direct"), Probe[list[int]]("lists")
    shared = Stream(log)
    with anyio.fail_after(PATIENCE):
        pipeline = Pipeline("p", shared.to(direct), shared.batch(4).to(lists), interval=3600)
        async with pipeline.start():
            await direct.until(10)
            await lists.until(2)
    assert len(direct.stored) == 10
    assert log.committed <= 8


async def test_a_drain_drops_a_timed_batch_too() -> None:
    log, probe = Log(range(10), follow=True), Probe[list[int]]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).batch(4, max_wait=3600).to(probe)).start():
            await probe.until(2)
            await settle()
    assert probe.stored == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert log.committed <= 8


async def test_a_pipeline_that_is_drained_and_run_again_loses_nothing() -> None:
    seen: list[int] = []
    at = 0
    while at < 250:
        log, probe = Log(range(300), at=at, most=7, follow=True), Probe[int]()
        stream = Stream(log).map(spin, concurrency=3).batch(4).flat_map(lambda part: part)
        with anyio.fail_after(PATIENCE):
            async with Pipeline("p", stream.to(probe), interval=0.001).start():
                await log.until_committed(at + 16)
        assert probe.stored == list(range(at, at + len(probe.stored)))
        seen += probe.stored
        at = log.committed
    assert set(range(at)) <= set(seen)


@pytest.mark.parametrize("buffered", [False, True])
async def test_take_commits_exactly_what_it_consumed(buffered: bool) -> None:
    for count in (1, 5, 10):
        log, probe = Log(range(100)), Probe[int]()
        stream = Stream(log).buffer(50) if buffered else Stream(log)
        await Pipeline("p", stream.take(count, volatile=True).to(probe)).run()
        assert probe.stored == list(range(count))
        assert log.committed == count


async def test_take_behind_an_unordered_map_commits_nothing_that_was_overtaken() -> None:
    gate, probe, log = Gate(), Probe[int](), Log(range(10))

    async def the_first_waits(n: int) -> int:
        if n == 0:
            await gate(n)
        return n

    stream = Stream(log).map(the_first_waits, concurrency=2, ordered=False).take(3, volatile=True)
    await Pipeline("p", stream.to(probe)).run()
    assert probe.stored == [1, 2, 3]
    assert log.committed == 0  # 0 has not been given on: it is read again


async def test_take_behind_operators_commits_exactly_what_it_consumed() -> None:
    log, probe = Log(range(100)), Probe[int]()
    stream = Stream(log).filter(lambda n: n % 2).map(plus_one, concurrency=3).take(3, volatile=True)
    await Pipeline("p", stream.to(probe)).run()
    assert probe.stored == [2, 4, 6]
    assert log.committed == 6  # 0 to 5: the event 5 is the third that is odd


async def test_take_while_commits_up_to_the_first_that_it_refused() -> None:
    log, probe = Log([1, 2, 9, 3, 4]), Probe[int]()
    await Pipeline("p", Stream(log).take_while(lambda n: n < 5, volatile=True).to(probe)).run()
    assert probe.stored == [1, 2]
    assert log.committed in (2, 3)


async def test_take_of_batches_commits_what_is_in_them() -> None:
    log, probe = Log(range(100)), Probe[list[int]]()
    await Pipeline("p", Stream(log).batch(4).take(2, volatile=True).to(probe)).run()
    assert probe.stored == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert log.committed == 8


async def test_first_commits_one() -> None:
    log = Log(range(100))
    assert await Stream(log).first() == 0
    assert log.committed == 1


async def test_one_branch_takes_the_other_goes_on_and_decides() -> None:
    log, few, all_ = Log(range(100)), Probe[int]("few"), Probe[int]("all")
    shared = Stream(log)
    await Pipeline("p", shared.take(3, volatile=True).to(few), shared.to(all_)).run()
    assert log.committed == 100


async def test_events_that_are_filtered_or_skipped_count_as_handled() -> None:
    def odd(n: int) -> int:
        if n % 2 == 0:
            raise Broken
        return n

    log = Log(range(10), follow=True)
    with anyio.fail_after(PATIENCE):
        stream = Stream(log).map(odd, on_error=Skip()).filter(lambda n: False)
        async with Pipeline("p", stream.discard()).start():
            await log.until_committed(10)


async def test_dead_letters_are_stored_before_the_position_is_committed() -> None:
    gate, letters = Gate(), Probe[DeadLetter]("letters")
    slow = Probe[DeadLetter]("letters", on_write=gate)

    def fails(n: int) -> int:
        raise Broken

    log = Log(range(3), follow=True)
    with anyio.fail_after(PATIENCE):
        stream = Stream(log).map(fails, on_error=DeadLetters())
        async with Pipeline("p", stream.discard(), dead_letters=slow, interval=0.001).start():
            await gate.entered()
            await anyio.sleep(0.01)
            assert log.commits == []
            gate.open()
            await log.until_committed(3)
            assert [letter.event for letter in slow.stored] == [0, 1, 2]
    assert letters.events == []


async def test_dead_letters_that_cannot_be_stored_fail_the_run_and_nothing_is_committed() -> None:
    async def write(events: Sequence[DeadLetter]) -> None:
        raise OSError("no space for letters")

    def fails(n: int) -> int:
        raise Broken

    log = Log(range(3))
    with pytest.raises(OSError, match="no space for letters"):
        stream = Stream(log).map(fails, on_error=DeadLetters())
        await Pipeline("p", stream.discard(), dead_letters=Probe(on_write=write)).run()
    assert log.commits == []


async def test_two_sources_are_committed_each_by_its_own() -> None:
    left, right, gate = (
        Log(range(10), name="left", follow=True),
        Log(range(5), name="right", follow=True),
        Gate(),
    )
    probe = Probe[int]("left sink")
    with anyio.fail_after(PATIENCE):
        pipeline = Pipeline("p", Stream(left).to(probe), Stream(right).to(Probe("right sink", on_write=gate)))
        async with pipeline.start():
            await gate.entered()
            await probe.until(10)
            gate.open()
            await left.until_committed(10)
            await right.until_committed(5)
    assert left.committed == 10
    assert right.committed == 5


async def test_two_sources_that_are_merged() -> None:
    left, right, probe = (
        Log(range(10), name="left", follow=True),
        Log(range(5), name="right", follow=True),
        Probe[int](),
    )
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(left).merge(Stream(right)).to(probe)).start():
            await left.until_committed(10)
            await right.until_committed(5)


async def test_one_of_two_merged_sources_that_ends_does_not_stop_the_commits_of_the_other() -> None:
    left, right, probe = Log(range(10), name="left"), Log(range(5), name="right", follow=True), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(left).merge(Stream(right)).to(probe)).start():
            await left.until_committed(10)
            await right.until_committed(5)
            right.append(6)
            await right.until_committed(6)


async def test_zip_commits_the_pairs_that_went_on() -> None:
    left, right, probe = Log(range(10), name="left"), Log(range(4), name="right"), Probe[Any]()
    await Pipeline("p", Stream(left).zip(Stream(right), volatile=True).to(probe)).run()
    assert len(probe.stored) == 4
    assert right.committed == 4
    assert left.committed <= 4


async def test_zip_commits_while_it_runs() -> None:
    left, right = Log(range(4), name="left", follow=True), Log(range(4), name="right", follow=True)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(left).zip(Stream(right), volatile=True).discard()).start():
            await left.until_committed(4)
            await right.until_committed(4)


async def test_concat_commits_each_source_in_its_turn() -> None:
    first, second, probe = (
        Log(range(3), name="first", follow=True),
        Log(range(2), name="second"),
        Probe[int](),
    )
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(first).concat(Stream(second)).to(probe)).start() as run:
            await first.until_committed(3)
            assert second.commits == []
            first.end()
            await run.wait()
    assert second.committed == 2


async def test_a_commit_that_fails_fails_the_run() -> None:
    class Bad(Log[int]):
        async def commit(self, position: int) -> None:
            raise OSError("no commit")

    log = Bad(range(3), follow=True)
    with anyio.fail_after(PATIENCE):
        with pytest.raises(OSError, match="no commit"):
            async with Pipeline("p", Stream(log).discard(), interval=0.001).start() as run:
                await run.wait()
    assert log.calls[-1] == "close"


async def test_nothing_new_means_no_commit() -> None:
    log = Log([1], follow=True)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).discard(), interval=0.001).start():
            await log.until_committed(1)
            await anyio.sleep(0.02)
    assert log.commits == [1]


async def test_a_source_starts_from_its_position_and_commits_from_there() -> None:
    log, probe = Log(range(10), at=6), Probe[int]()
    await Pipeline("p", Stream(log).to(probe)).run()
    assert probe.stored == [6, 7, 8, 9]
    assert log.commits == [10]


# reject -----------------------------------------------------------------------------------------------------


class Rejecting(Log[int]):
    """Cannot read every second record."""

    async def read(self, limit: int) -> list[Record[int]] | None:
        records = await super().read(limit)
        if records is None:
            return None
        good = [record for record in records if record.value % 2]
        for record in records:
            if record.value % 2 == 0:
                if self.reject is None:
                    raise ValueError(f"record {record.position} can't be read")
                self.reject(record, ValueError(f"record {record.position} can't be read"))
        return good or await self.read(limit)


async def test_records_that_cannot_be_read_become_dead_letters() -> None:
    log, probe, letters = Rejecting(range(6)), Probe[int](), list[DeadLetter]()
    await Pipeline("p", Stream(log).to(probe), dead_letters=letters.append).run()
    assert probe.stored == [1, 3, 5]
    assert [letter.origin.raw for letter in letters] == [b"0", b"2", b"4"]
    assert letters[0].operator == "log"
    assert letters[0].error == "ValueError: record 0 can't be read"
    assert letters[0].origin.position == 0
    assert log.committed == 6


async def test_rejected_records_are_stored_before_the_commit() -> None:
    gate = Gate()
    letters = Probe[DeadLetter]("letters", on_write=gate)
    log = Rejecting([0, 2, 4], follow=True)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).discard(), dead_letters=letters, interval=0.001).start():
            log.append(5)
            await gate.entered()
            await anyio.sleep(0.01)
            assert log.commits == []
            gate.open()
            await log.until_committed(4)
    assert len(letters.stored) == 3


async def test_without_dead_letters_reject_is_not_there() -> None:
    log = Rejecting(range(2))
    with pytest.raises(ValueError, match="record 0 can't be read"):
        await Pipeline("p", Stream(log).discard()).run()
    assert log.committed == 0
