"""``checkpoints(url)``: what a user does with the checkpoints that a store keeps."""

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reactor import checkpoints
from reactor.connectors import state_store
from reactor.connectors.states import forget
from reactor.core import ArgumentError, Owned, StateCorrupt, StateError
from reactor.delivery import Change, Checkpoint, CheckpointStore

pytestmark = pytest.mark.anyio

_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointStore]:
    name = f"stored{next(_numbers)}"
    yield state_store(f"sqlite:{tmp_path}/state.db" if request.param == "sqlite" else f"memory:{name}")
    forget(name)


async def saved(
    store: CheckpointStore, number: int, rows: int, pipeline: str = "billing"
) -> tuple[int, Checkpoint]:
    fence = await store.claim(pipeline, store.holder(), 600)
    assert fence is not None
    cut = Checkpoint(number, number, {"orders": number}, {"sum": "scan", "seen": "distinct"})
    given = [(b"%06d" % n, b"%d" % number) for n in range(rows)]
    await store.save(pipeline, fence, cut, [Change("sum", given, True)])
    return fence, cut


async def test_a_savepoint_from_first_to_last(store: CheckpointStore) -> None:
    kept = checkpoints(store)
    await store.open()
    fence, first = await saved(store, 1, 12_345)
    savepoint = await kept.keep("billing", "v1")
    assert await kept.savepoints() == await kept.savepoints("billing") == [savepoint]
    assert await kept.inspect("billing", "v1") == savepoint
    owner = await kept.owner("billing")
    assert owner is not None
    assert owner.fence == fence
    await store.release("billing", fence)
    fence, second = await saved(store, 2, 7)
    assert await kept.last("billing") == second
    inspected = await kept.inspect("billing")
    assert (inspected.name, inspected.checkpoint, inspected.rows) == ("", second, {"sum": 7, "seen": 0})
    assert inspected.size == 7 * 7
    assert await kept.outlines() == [inspected, savepoint]
    for call in (kept.restore("billing", "v1"), kept.reset("billing")):
        with pytest.raises(Owned):
            await call
    await store.release("billing", fence)
    restored = await kept.restore("billing", "v1")
    assert (restored.positions, restored.number) == (first.positions, 3)
    assert (await kept.inspect("billing")).rows == {"sum": 12_345, "seen": 0}
    await kept.reset("billing")
    assert await kept.last("billing") is None
    assert await kept.pipelines() == ["billing"]
    await kept.delete("billing", "v1")
    assert await kept.pipelines() == await kept.savepoints() == []
    await store.close()


async def test_what_is_not_there_is_told_with_what_is(store: CheckpointStore) -> None:
    await store.open()
    fence, _ = await saved(store, 1, 1)
    await store.release("billing", fence)
    kept = checkpoints(store)
    await kept.keep("billing", "v1")
    calls = [
        (kept.inspect("shipping"), "pipeline shipping has no checkpoint; there are those of: billing"),
        (
            kept.inspect("shipping", "x"),
            "pipeline shipping has no checkpoint named x; there are those of: billing",
        ),
        (kept.inspect("billing", "x"), "pipeline billing has no savepoint x; there are: v1"),
        (kept.restore("billing", "x"), "pipeline billing has no savepoint x; there are: v1"),
        (kept.delete("billing", "x"), "pipeline billing has no savepoint x; there are: v1"),
        (kept.reset("shipping"), "pipeline shipping has no checkpoint"),
        (kept.keep("shipping", "x"), "pipeline shipping has no checkpoint that could be kept"),
    ]
    for call, says in calls:
        with pytest.raises(StateError) as caught:
            await call
        assert says in str(caught.value)
    await store.close()


async def test_looking_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with pytest.raises(StateError, match=r"there is no file .*state\.db"):
        await checkpoints(f"sqlite:{path}").pipelines()
    assert not path.exists()


async def test_inspecting_reads_all_rows(tmp_path: Path) -> None:
    store = state_store(f"sqlite:{tmp_path}/state.db")
    await store.open()
    await saved(store, 1, 20_000)
    await store.close()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as db:
        db.execute("DELETE FROM reactor_states_rows WHERE key = x'303139393939'")
    assert len(await checkpoints(store).outlines()) == 1
    with pytest.raises(StateCorrupt, match="the rows of sum aren't those that were written"):
        await checkpoints(store).inspect("billing")


@pytest.mark.parametrize("wrong", [None, 7, b"sqlite:x"])
def test_what_can_not_be_a_store(wrong: object) -> None:
    with pytest.raises(ArgumentError, match=r"pass a URL as sqlite:state.db, or a CheckpointStore"):
        checkpoints(wrong)  # type: ignore[arg-type]


def test_its_url() -> None:
    assert repr(checkpoints("sqlite:billing.db")) == "checkpoints('sqlite:billing.db')"
