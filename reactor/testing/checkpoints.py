"""A conformance suite for stores of checkpoints: subclass it, and say how an empty store is made.

::

    class TestMine(CheckpointSuite):
        def make(self):
            return MyStates(...)

Its methods are plain coroutines, for a runner that takes such (``pytest.mark.anyio`` over the class).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.lowlevel

from reactor.core import ArgumentError, Fenced, Owned, StateError
from reactor.delivery import Change, Checkpoint, CheckpointStore, Pair

__all__ = ["CheckpointSuite", "rows_of"]

E = TypeVar("E", bound=BaseException)

_WAIT = 20
_LONG = 600.0


async def rows_of(
    store: CheckpointStore, pipeline: str, operator: str, page: int = 1000
) -> dict[bytes, bytes]:
    """All rows of an operator, read in pages."""
    found: dict[bytes, bytes] = {}
    after: bytes | None = None
    while True:
        rows = await store.rows(pipeline, operator, after, page)
        assert len(rows) <= page
        keys = [key for key, _ in rows]
        assert keys == sorted(keys)
        assert after is None or not keys or keys[0] > after
        found.update(rows)
        if len(rows) < page:
            return found
        after = keys[-1]


def _cut(number: int, *operators: str, complete: bool = False, **positions: int) -> Checkpoint:
    verbs = {name: f"verb of {name}" for name in operators}
    return Checkpoint(number, 1_000_000 + number, positions, verbs, complete)


async def _refused(kind: type[E], call: Awaitable[object]) -> E:
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"it should have raised {kind.__name__}")


@asynccontextmanager
async def _opened(store: CheckpointStore) -> AsyncGenerator[CheckpointStore, None]:
    await store.open()
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()


async def _claim(store: CheckpointStore, pipeline: str, lease: float = _LONG) -> int:
    fence = await store.claim(pipeline, store.holder(), lease)
    assert fence is not None, f"nobody owns {pipeline}, but it can't be claimed"
    return fence


class CheckpointSuite:
    """What every store of checkpoints has to do. Each test gets stores of its own from ``make``."""

    sees_the_gone = True
    """Whether the store can know that an owner is gone, once ``done`` was called; else its lease is waited for."""

    def make(self) -> CheckpointStore:
        """Return the test's store; in one test each call gives another object with the same content."""
        raise NotImplementedError("make(): return a CheckpointStore")

    # The last checkpoint ------------------------------------------------------------------------------------

    async def test_at_first_there_is_nothing(self) -> None:
        async with _opened(self.make()) as store:
            assert await store.last("p") is None
            assert await store.rows("p", "a") == []
            assert await store.owner("p") is None
            assert await store.pipelines() == []
            assert await store.savepoints() == []
            assert await store.savepoints("p") == []

    async def test_a_checkpoint_comes_back_as_it_was(self) -> None:
        rows = {b"": b"empty", b"\0": b"", b"a": b"\0\1\2", b"a\0": b"x" * 5000, b"\xff\xfe": b"\xff"}
        cut = _cut(7, "count", "join", orders=12, mails=0, complete=True)
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, cut, [Change("count", iter(rows.items()), True)])
            assert await store.last("p") == cut
            for page in (1, 2, 5, 1000):
                assert await rows_of(store, "p", "count", page) == rows
            assert await store.rows("p", "count", b"a") == [(b"a\0", b"x" * 5000), (b"\xff\xfe", b"\xff")]
            assert await store.rows("p", "count", b"\xff\xff") == []
            assert await store.rows("p", "join") == []
            assert await store.rows("p", "other") == []
            assert await store.pipelines() == ["p"]
        async with _opened(self.make()) as store:
            assert await store.last("p") == cut
            assert await rows_of(store, "p", "count") == rows

    async def test_changes_are_made_to_the_rows_before(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(1, "a", "b"), [Change("a", [(b"1", b"x"), (b"2", b"y")], True)])
            changes = [
                Change("a", [(b"2", b"z"), (b"3", b"new"), (b"1", None), (b"nothing", None)]),
                Change("b", [(b"1", b"b")]),
            ]
            await store.save("p", fence, _cut(2, "a", "b"), changes)
            assert await rows_of(store, "p", "a") == {b"2": b"z", b"3": b"new"}
            assert await rows_of(store, "p", "b") == {b"1": b"b"}
            # No change: the rows stay.
            await store.save("p", fence, _cut(3, "a", "b"), [])
            assert await rows_of(store, "p", "a") == {b"2": b"z", b"3": b"new"}
            # A key that was gone comes back.
            await store.save("p", fence, _cut(4, "a", "b"), [Change("a", [(b"1", b"again")])])
            assert await rows_of(store, "p", "a") == {b"1": b"again", b"2": b"z", b"3": b"new"}
            assert await store.last("p") == _cut(4, "a", "b")

    async def test_a_complete_change_replaces_all_rows(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save(
                "p", fence, _cut(1, "a", "b"), [Change("a", [(b"1", b"x")]), Change("b", [(b"1", b"y")])]
            )
            await store.save("p", fence, _cut(2, "a", "b"), [Change("a", [(b"2", b"z")], True)])
            assert await rows_of(store, "p", "a") == {b"2": b"z"}
            assert await rows_of(store, "p", "b") == {b"1": b"y"}
            await store.save("p", fence, _cut(3, "a", "b"), [Change("a", [], True)])
            assert await rows_of(store, "p", "a") == {}

    async def test_an_operator_that_is_gone_loses_its_rows(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            changes = [Change(name, [(b"1", b"x")]) for name in "ab"]
            await store.save("p", fence, _cut(1, "a", "b"), changes)
            await store.save("p", fence, _cut(2, "b"), [Change("a", [(b"2", b"y")])])
            assert await store.rows("p", "a") == []
            await store.save("p", fence, _cut(3, "a", "b"), [])
            assert await store.rows("p", "a") == []
            assert await rows_of(store, "p", "b") == {b"1": b"x"}

    async def test_of_what_is_given_twice_the_later_counts(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            changes = [
                Change(
                    "a", [(b"1", b"x"), (b"2", b"x"), (b"1", b"y"), (b"2", None), (b"3", None), (b"3", b"z")]
                ),
                Change("a", [(b"4", b"more"), (b"3", b"zz")]),
            ]
            await store.save("p", fence, _cut(1, "a"), changes)
            assert await rows_of(store, "p", "a") == {b"1": b"y", b"3": b"zz", b"4": b"more"}
            changes = [
                Change("a", [(b"5", b"x")]),
                Change("a", [(b"6", b"x")], True),
                Change("a", [(b"7", b"x")]),
            ]
            await store.save("p", fence, _cut(2, "a"), changes)
            assert await rows_of(store, "p", "a") == {b"6": b"x", b"7": b"x"}

    async def test_rows_are_taken_once_and_in_order(self) -> None:
        taken: list[str] = []

        def given(name: str, count: int) -> Iterator[Pair]:
            for number in range(count):
                taken.append(f"{name}{number}")
                yield b"%06d" % number, name.encode()

        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            changes = [Change("a", given("a", 3)), Change("b", given("b", 2500)), Change("c", given("c", 1))]
            await store.save("p", fence, _cut(1, "a", "b", "c"), changes)
            assert taken == [*(f"a{n}" for n in range(3)), *(f"b{n}" for n in range(2500)), "c0"]
            assert len(await rows_of(store, "p", "b")) == 2500

    async def test_rows_that_fail_leave_all_as_it_was(self) -> None:
        fault = ValueError("no such thing")

        def given(count: int) -> Iterator[Pair]:
            for number in range(count):
                yield b"%06d" % number, b"new"
            raise fault

        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(1, "a", "b"), [Change("a", [(b"1", b"old")])])
            for count in (0, 1, 1500, 25_000):
                changes = [Change("b", [(b"1", b"new")]), Change("a", given(count), True)]
                assert await _refused(ValueError, store.save("p", fence, _cut(2, "a", "b"), changes)) is fault
                assert await store.last("p") == _cut(1, "a", "b")
                assert await rows_of(store, "p", "a") == {b"1": b"old"}
                assert await store.rows("p", "b") == []
            await store.save("p", fence, _cut(2, "a", "b"), [Change("a", [(b"2", b"new")])])
            assert await rows_of(store, "p", "a") == {b"1": b"old", b"2": b"new"}

    async def test_many_rows(self) -> None:
        rows = {b"%d" % (number * 7919 % 25_013): b"%d" % number for number in range(25_000)}
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(1, "a"), [Change("a", iter(rows.items()), True)])
            assert await rows_of(store, "p", "a") == rows
            less = dict.fromkeys(list(rows)[::3])
            more = {b"new%d" % number: b"x" * (number % 90) for number in range(12_000)}
            given = [*dict.fromkeys(more, b"earlier").items(), *less.items(), *more.items()]
            await store.save("p", fence, _cut(2, "a"), [Change("a", iter(given))])
            left = {key: value for key, value in rows.items() if key not in less}
            assert await rows_of(store, "p", "a", 777) == {**left, **more}

    async def test_large_rows(self) -> None:
        rows = {b"%d" % number: bytes([number]) * (number * 50_000) for number in range(30)}
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(1, "a"), [Change("a", iter(rows.items()), True)])
            for page in (7, 1000):
                assert await rows_of(store, "p", "a", page) == rows
            await store.save("p", fence, _cut(2, "a"), [Change("a", [(b"7", b"small"), (b"29", None)])])
            kept = {**rows, b"7": b"small"}
            del kept[b"29"]
            assert await rows_of(store, "p", "a") == kept

    async def test_pipelines_do_not_disturb_each_other(self) -> None:
        async with _opened(self.make()) as store, _opened(self.make()) as other:
            names = [f"p{number}" for number in range(5)]

            async def work(store: CheckpointStore, name: str) -> None:
                fence = await _claim(store, name)
                for number in range(1, 21):
                    change = Change("a", [(b"%d" % number, name.encode()), (b"%d" % (number - 3), None)])
                    await store.save(name, fence, _cut(number, "a", x=number), [change])
                    await store.renew(name, fence, _LONG)

            with anyio.fail_after(_WAIT):
                async with anyio.create_task_group() as tasks:
                    for number, name in enumerate(names):
                        tasks.start_soon(work, other if number % 2 else store, name)
            assert await store.pipelines() == names
            for name in names:
                assert await store.last(name) == _cut(20, "a", x=20)
                assert await rows_of(store, name, "a") == {b"%d" % n: name.encode() for n in (18, 19, 20)}

    # Owners -------------------------------------------------------------------------------------------------

    async def test_one_owner_at_a_time(self) -> None:
        async with _opened(self.make()) as store, _opened(self.make()) as other:
            first = store.holder()
            fence = await store.claim("p", first, _LONG)
            assert fence is not None
            owner = await other.owner("p")
            assert owner is not None
            assert (owner.holder, owner.fence) == (first, fence)
            assert await other.claim("p", other.holder(), _LONG) is None
            assert await store.claim("p", store.holder(), 0.001) is None
            assert await other.claim("q", other.holder(), _LONG) is not None
            owner = await store.owner("p")
            assert owner is not None
            assert owner.fence == fence

    async def test_a_release_lets_another_one_in_at_once(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.release("p", fence)
            assert await store.owner("p") is None
            # What was released doesn't count any more.
            await _refused(Fenced, store.save("p", fence, _cut(1), []))
            await _refused(Fenced, store.renew("p", fence, _LONG))
            later = await _claim(store, "p")
            assert later > fence
            await store.release("p", fence)  # changes nothing
            await _refused(Fenced, store.renew("p", fence, _LONG))
            owner = await store.owner("p")
            assert owner is not None
            assert owner.fence == later

    async def test_an_owner_that_says_nothing_loses_it(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p", 0.02)
            await store.save("p", fence, _cut(1, "a"), [Change("a", [(b"1", b"old")])])
            later = await self._wait_for(store, "p")
            assert later > fence
            taken: list[int] = []

            def given() -> Iterator[Pair]:
                taken.append(1)
                yield b"1", b"new"

            error = await _refused(Fenced, store.save("p", fence, _cut(2, "a"), [Change("a", given())]))
            assert "p" in str(error)
            await _refused(Fenced, store.renew("p", fence, _LONG))
            assert await store.last("p") == _cut(1, "a")
            assert await rows_of(store, "p", "a") == {b"1": b"old"}
            await store.save("p", later, _cut(3, "a"), [Change("a", [(b"2", b"new")])])
            assert await rows_of(store, "p", "a") == {b"1": b"old", b"2": b"new"}

    async def test_an_owner_that_is_late_goes_on_while_nobody_has_taken_over(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p", 0.001)
            with anyio.fail_after(_WAIT):
                while True:
                    if await store.owner("p") is None:
                        break
                    await anyio.sleep(0.001)
            await store.save("p", fence, _cut(1), [])
            await store.renew("p", fence, _LONG)
            assert await store.claim("p", store.holder(), _LONG) is None

    async def test_who_renews_stays_the_owner(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p", _LONG)
            before = await store.owner("p")
            await store.renew("p", fence, 2 * _LONG)
            after = await store.owner("p")
            assert before is not None
            assert after is not None
            assert after.until > before.until + 500_000_000
            assert after.fence == before.fence == fence
            # A shorter lease takes the place of a longer one.
            await store.renew("p", fence, 0.02)
            await self._wait_for(store, "p")

    async def test_an_owner_that_is_gone_is_not_waited_for(self) -> None:
        async with _opened(self.make()) as store:
            gone = store.holder()
            fence = await store.claim("p", gone, _LONG)
            assert fence is not None
            store.done(gone)
            if not self.sees_the_gone:
                assert await store.claim("p", store.holder(), _LONG) is None
                return
            assert await store.owner("p") is None
            assert await _claim(store, "p") > fence
            await _refused(Fenced, store.save("p", fence, _cut(1), []))

    async def test_an_owner_of_unknown_kind_is_waited_for(self) -> None:
        async with _opened(self.make()) as store:
            fence = await store.claim("p", "somebody", _LONG)
            assert fence is not None
            assert await store.claim("p", store.holder(), _LONG) is None
            owner = await store.owner("p")
            assert owner is not None
            assert owner.holder == "somebody"

    async def test_fencing_numbers_never_go_back(self) -> None:
        seen: list[int] = []
        for _ in range(3):
            async with _opened(self.make()) as store:
                for _ in range(3):
                    seen.append(await _claim(store, "p"))
                    await store.save("p", seen[-1], _cut(len(seen)), [])
                    await store.release("p", seen[-1])
                await store.forget("p")
        assert seen == sorted(set(seen))
        assert seen[0] > 0

    async def test_a_save_without_a_claim(self) -> None:
        async with _opened(self.make()) as store:
            for fence in (0, 1, 7):
                await _refused(Fenced, store.save("p", fence, _cut(1), []))
                await _refused(Fenced, store.renew("p", fence, _LONG))
            assert await store.last("p") is None

    async def test_of_many_that_claim_at_once_one_gets_it(self) -> None:
        got: list[int] = []
        async with _opened(self.make()) as store, _opened(self.make()) as other:

            async def claim(store: CheckpointStore) -> None:
                fence = await store.claim("p", store.holder(), _LONG)
                if fence is not None:
                    got.append(fence)

            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(claim, other if number % 2 else store)
        assert len(got) == 1

    # Savepoints ---------------------------------------------------------------------------------------------

    async def test_a_savepoint_is_kept_as_it_was(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            first = _cut(1, "a", "b", x=5)
            await store.save("p", fence, first, [Change("a", [(b"1", b"old"), (b"22", b"older")])])
            kept = await store.keep("p", "before")
            assert (kept.pipeline, kept.name, kept.checkpoint) == ("p", "before", first)
            assert (kept.rows, kept.size) == ({"a": 2, "b": 0}, 11)
            await store.save("p", fence, _cut(2, "a", x=9), [Change("a", [(b"1", b"new"), (b"22", None)])])
            later = await store.keep("p", "after")
            assert (later.rows, later.size) == ({"a": 1}, 4)
            assert await store.savepoints("p") == [kept, later]
            assert await store.savepoints("q") == []
            await store.release("p", fence)
            restored = await store.restore("p", "before")
            assert restored.number > 2
            assert (restored.positions, restored.operators) == (first.positions, first.operators)
            assert await store.last("p") == restored
            assert await rows_of(store, "p", "a") == {b"1": b"old", b"22": b"older"}
            assert await store.savepoints() == [kept, later]
            # What happens to the one doesn't happen to the other.
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(restored.number + 1, "a"), [Change("a", [(b"1", b"newer")])])
            await store.release("p", fence)
            await store.restore("p", "after")
            assert await rows_of(store, "p", "a") == {b"1": b"new"}
            await store.restore("p", "before")
            assert await rows_of(store, "p", "a") == {b"1": b"old", b"22": b"older"}

    async def test_a_name_is_taken_once(self) -> None:
        async with _opened(self.make()) as store:
            for name in "pq":
                assert "no checkpoint" in str(await _refused(StateError, store.keep(name, "x")))
                fence = await _claim(store, name)
                await store.save(name, fence, _cut(1), [])
                await store.keep(name, "x")
                await store.save(name, fence, _cut(2), [])
                error = await _refused(StateError, store.keep(name, "x"))
                assert "x" in str(error)
                assert (await store.savepoints(name))[0].checkpoint == _cut(1)
            for wrong in ("", "a\nb"):
                await _refused(ArgumentError, store.keep("p", wrong))
            assert [(one.pipeline, one.name) for one in await store.savepoints()] == [("p", "x"), ("q", "x")]

    async def test_savepoints_are_listed_from_the_oldest(self) -> None:
        async with _opened(self.make()) as store:
            for number, (pipeline, name) in enumerate([("q", "z"), ("p", "y"), ("q", "a")], 1):
                fence = await _claim(store, pipeline)
                await store.save(pipeline, fence, _cut(number), [])
                await store.keep(pipeline, name)
                await store.release(pipeline, fence)
            assert [one.name for one in await store.savepoints()] == ["z", "y", "a"]
            assert [one.name for one in await store.savepoints("q")] == ["z", "a"]

    async def test_nothing_is_restored_or_forgotten_while_somebody_runs(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(1, "a"), [Change("a", [(b"1", b"x")])])
            await store.keep("p", "x")
            await _refused(Owned, store.restore("p", "x"))
            await _refused(Owned, store.forget("p"))
            assert await store.last("p") == _cut(1, "a")
            await store.save("p", fence, _cut(2, "a"), [])
            await store.keep("p", "y")
            await store.forget("p", "x")
            assert [one.name for one in await store.savepoints("p")] == ["y"]
            await store.release("p", fence)
            await store.restore("p", "y")
            await store.forget("p")

    async def test_an_owner_that_was_taken_for_dead_is_fenced_by_a_restore(self) -> None:
        async with _opened(self.make()) as store:
            for change in (lambda: store.restore("p", "x"), lambda: store.forget("p")):
                fence = await _claim(store, "p")
                await store.save("p", fence, _cut(fence, "a"), [Change("a", [(b"1", b"x")])])
                if not await store.savepoints("p"):
                    await store.keep("p", "x")
                await store.renew("p", fence, 0.001)
                with anyio.fail_after(_WAIT):
                    while True:
                        if await store.owner("p") is None:
                            break
                        await anyio.sleep(0.001)
                await change()
                last = await store.last("p")
                await _refused(Fenced, store.save("p", fence, _cut(99, "a"), []))
                assert await store.last("p") == last

    async def test_forgetting(self) -> None:
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(5, "a"), [Change("a", [(b"1", b"x")])])
            await store.keep("p", "x")
            await store.release("p", fence)
            await store.forget("p")
            assert await store.last("p") is None
            assert await store.rows("p", "a") == []
            assert await store.pipelines() == ["p"]
            for name in ("y", "X"):
                error = await _refused(StateError, store.forget("p", name))
                assert "x" in str(error)
                await _refused(StateError, store.restore("p", name))
            later = await _claim(store, "p")
            assert later > fence
            await store.save("p", later, _cut(6, "a"), [])
            assert await store.rows("p", "a") == []
            await store.release("p", later)
            assert (await store.restore("p", "x")).number > 6
            await store.forget("p", "x")
            await store.forget("p")
            assert await store.pipelines() == []
            assert await store.savepoints() == []

    # Opening and closing ------------------------------------------------------------------------------------

    async def test_users_are_counted(self) -> None:
        store = self.make()
        async with _opened(store):
            fence = await _claim(store, "p")
            async with _opened(store):
                await store.save("p", fence, _cut(1), [])
            assert await store.last("p") == _cut(1)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(self._look, store)
        async with _opened(store):
            assert await store.last("p") == _cut(1)

    async def test_a_save_that_is_cancelled_is_there_as_a_whole_or_not_at_all(self) -> None:
        rows: Sequence[Pair] = [(b"%d" % number, b"new") for number in range(20_000)]
        async with _opened(self.make()) as store:
            fence = await _claim(store, "p")
            await store.save("p", fence, _cut(1, "a"), [Change("a", [(b"1", b"old")])])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.save, "p", fence, _cut(2, "a"), [Change("a", rows, True)])
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await store.save("p", fence, _cut(3, "a"), [])  # behind it
            assert await rows_of(store, "p", "a") in ({b"1": b"old"}, dict(rows))

    async def _look(self, store: CheckpointStore) -> None:
        async with _opened(store):
            assert await store.last("p") == _cut(1)

    async def _wait_for(self, store: CheckpointStore, pipeline: str) -> int:
        with anyio.fail_after(_WAIT):
            while True:
                fence = await store.claim(pipeline, store.holder(), _LONG)
                if fence is not None:
                    return fence
                await anyio.sleep(0.005)
