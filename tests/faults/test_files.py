"""One of a pipeline's files is full, read-only or locked: a clear end, and nothing lost or twice afterwards."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reactor import Restart
from reactor.core import StateError, StateFull, StateLocked, TableError, TopicError, TopicFull, TopicLocked
from tests.faults.disk import FAULTS, Disk, Fault
from tests.faults.shop import Gate, Out, Place, Shop

each_fault = pytest.mark.parametrize("fault", FAULTS)
each_place = pytest.mark.parametrize(
    ("place", "out"),
    [
        ("in.db", "topic"),
        ("state.db", "topic"),
        ("out.db", "topic"),
        ("out.db", "table"),
        ("dead.db", "table"),
    ],
)

PATIENCE = 20.0

SAYS: dict[Fault, str] = {"full": "no room is left", "read-only": "read-only", "locked": "held the lock"}
WHERE: dict[Place, str] = {
    "in.db": "orders",
    "state.db": "checkpoint",
    "out.db": "to(",
    "dead.db": "dead_letters",
}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(tmp_path, monkeypatch)
    yield made
    made.mend()


def expected(fault: Fault, place: Place, out: Out) -> type[Exception]:
    if place == "state.db":
        return {"full": StateFull, "read-only": StateError, "locked": StateLocked}[fault]
    if place == "out.db" and out == "table":
        return TableError
    return {"full": TopicFull, "read-only": TopicError, "locked": TopicLocked}[fault]


def tells(error: BaseException, fault: Fault, place: Place, out: Out, folder: Path) -> None:
    """It names the file, what is wrong with it, and where in which pipeline."""
    assert type(error) is expected(fault, place, out), error
    assert f"{folder}/{place}" in str(error)
    assert SAYS[fault] in str(error)
    notes = "".join(getattr(error, "__notes__", ()))
    assert "in pipeline 'shop', operator " in notes
    assert WHERE[place] in notes


@each_place
@each_fault
@pytest.mark.asyncio
async def test_before_the_start(tmp_path: Path, disk: Disk, fault: Fault, place: Place, out: Out) -> None:
    shop = Shop(tmp_path, out)
    await shop.begun()
    disk.strike(place, fault)
    run = shop.pipeline().start()
    if (fault, place) == ("full", "in.db"):  # who only reads needs no room
        async with run:
            await run.wait()
    else:
        with anyio.fail_after(PATIENCE), pytest.raises(Exception) as caught:
            async with run:
                await run.wait()
        tells(caught.value, fault, place, out, tmp_path)
        assert run.state == "failed"
        assert run.error is caught.value
    disk.mend()
    await shop.pipeline().run()
    await shop.check()


@each_place
@each_fault
@pytest.mark.anyio
async def test_in_the_middle_of_a_run(
    tmp_path: Path, disk: Disk, fault: Fault, place: Place, out: Out
) -> None:
    shop, gate = Shop(tmp_path, out), Gate()
    await shop.begun()
    gate.closed = True
    run = shop.pipeline(gate=gate).start()
    with anyio.fail_after(PATIENCE):
        try:
            async with run:
                await gate.reached.wait()
                disk.strike(place, fault)
                gate.open()
                await run.wait()
        except Exception as error:
            assert (fault, place) != ("full", "in.db")
            tells(error, fault, place, out, tmp_path)
            assert run.state == "failed"
        else:
            assert (fault, place) == ("full", "in.db")
    disk.mend()
    await shop.pipeline().run()
    await shop.check()


@each_place
@each_fault
@pytest.mark.anyio
async def test_a_run_that_may_restart_goes_on_by_itself(
    tmp_path: Path, disk: Disk, fault: Fault, place: Place, out: Out
) -> None:
    shop, gate = Shop(tmp_path, out), Gate()
    await shop.begun()
    gate.closed = True
    pipeline = shop.pipeline(gate=gate, restart=Restart(1000, initial=0.005, max_delay=0.02))
    with anyio.fail_after(PATIENCE):
        async with pipeline.start() as run:
            await gate.reached.wait()
            disk.strike(place, fault)
            gate.open()
            if (fault, place) != ("full", "in.db"):
                while run.restarts < 2:
                    await anyio.sleep(0.005)
            disk.mend()
            await run.wait()
    await shop.check()
