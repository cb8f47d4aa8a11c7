"""run.metrics(): events in and out, queues, and where the time goes."""

import time
from collections.abc import Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Inlet, Pipeline, RateLimit, Stream
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


async def test_events_in_and_out_of_every_stage() -> None:
    stream = (
        Stream(range(100)).filter(lambda n: n % 2, name="odd").buffer(10, name="b").batch(10, name="tens")
    )
    run = await Pipeline("p", stream.to(Probe("sink"))).run()
    metrics = run.metrics()
    assert metrics.pipeline == "p"
    assert metrics.state == "complete"
    assert metrics.events_in == 100
    assert metrics.in_flight == 0
    assert metrics.seconds > 0
    source, between, tens, sink = (metrics[name] for name in ("odd", "b", "tens", "to(sink)"))
    assert (source.events_in, source.events_out) == (100, 50)
    assert between.events_in == 50
    assert tens.events_out == 5
    assert sink.events_in == 5


@pytest.mark.parametrize("ordered", [True, False])
async def test_events_of_a_pool(ordered: bool) -> None:
    stream = (
        Stream(range(50)).map(plus_one, concurrency=4, ordered=ordered, name="pool").filter(lambda n: n % 2)
    )
    metrics = (await Pipeline("p", stream.discard()).run()).metrics()
    assert metrics["pool"].events_in == 50


async def test_events_of_merge_zip_and_a_timed_batch() -> None:
    stream = Stream(range(5)).merge(Stream(range(5)), name="m").batch(3, max_wait=60, name="b")
    metrics = (await Pipeline("p", stream.discard()).run()).metrics()
    assert metrics["m"].events_in == 10
    assert metrics["b"].events_in == 10
    stream2 = Stream(range(5)).zip(Stream(range(4)), name="z")
    metrics = (await Pipeline("p", stream2.to(Probe())).run()).metrics()
    assert metrics["z"].events_out == 4


async def test_events_of_a_rate_limit() -> None:
    stream = Stream(range(20)).rate_limit(RateLimit(1e6, burst=3), name="limit").filter(lambda n: n % 2)
    metrics = (await Pipeline("p", stream.to(Probe())).run()).metrics()
    assert metrics["limit"].events_in == 20
    assert metrics["limit"].events_out == 10


async def test_events_that_a_sink_is_writing_are_in_flight() -> None:
    gate = Gate()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(range(5)).to(Probe(on_write=gate))).start() as run:
            await gate.entered()
            await settle()
            assert run.metrics().in_flight == 5
            gate.open()
    assert run.metrics().in_flight == 0


async def test_queue_depth_is_what_waits_and_never_above_capacity() -> None:
    gate = Gate()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(Endless()).to(gate, name="sink"), capacity=32).start() as run:
            await gate.entered()
            await settle()
            assert run.metrics()["sink"].queued in range(16, 33)
            assert run.metrics()["sink"].queued_most <= 32
            gate.open()
    assert run.metrics()["sink"].queued == 0


async def test_time_waiting_for_events_is_idle() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    async with Pipeline(
        "p",
        Stream(
            inlet,
        )
        .buffer(1, name="b")
        .map(plus_one)
        .to(probe),
    ).start() as run:
        await inlet.send(1)
        await anyio.sleep(0.25)
        await inlet.send(2)
        await probe.until(2)
    b = run.metrics()["b"]
    assert 0.15 <= b.idle <= run.metrics().seconds
    assert b.busy < b.idle / 2
    assert b.blocked < b.idle / 2


async def test_time_waiting_now_counts_already() -> None:
    """A dashboard that looks while the stage waits sees it."""
    async with Pipeline("p", Stream(Inlet[int]()).buffer(1, name="b").discard()).start() as run:
        await anyio.sleep(0.05)
        assert run.metrics()["b"].idle >= 0.04


@pytest.mark.blocking
async def test_time_in_functions_is_busy() -> None:
    run = await Pipeline("p", Stream(range(10)).map(lambda n: time.sleep(0.004), name="m").discard()).run()
    m = run.metrics()["m"]
    assert 0.039 <= m.busy <= run.metrics().seconds + 0.01
    assert m.blocked == 0


async def test_time_held_back_is_blocked() -> None:
    async def write(events: Sequence[int]) -> None:
        await anyio.sleep(0.03)

    stream = Stream(range(10)).map(abs, name="m")
    run = await Pipeline("p", stream.to(Probe(on_write=write)), capacity=1, chunk=1).run()
    m = run.metrics()["m"]
    assert 0.15 <= m.blocked <= run.metrics().seconds
    assert m.busy < m.blocked / 2


async def test_a_pool_is_busy_while_a_call_is_in_flight() -> None:
    async def call(n: int) -> None:
        await anyio.sleep(0.02)

    run = await Pipeline("p", Stream(range(10)).map(call, concurrency=5, name="pool").discard()).run()
    assert 0.039 <= run.metrics()["pool"].busy <= run.metrics().seconds


async def test_time_of_a_sinks_writes_is_busy() -> None:
    async def write(events: Sequence[int]) -> None:
        await anyio.sleep(0.03)

    run = await Pipeline("p", Stream([1]).to(Probe(on_write=write), name="sink")).run()
    assert run.metrics()["sink"].busy >= 0.029


async def test_metrics_while_it_runs() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(inlet).to(probe)).start() as run:
        assert run.metrics().events_in == 0
        assert run.metrics().state == "running"
        for n in range(5):
            await inlet.send(n)
        await probe.until(5)
        await settle()
        assert run.metrics().events_in == 5
        assert run.metrics().in_flight == 0


async def test_metrics_of_a_failed_run() -> None:
    def fails(n: int) -> int:
        raise LookupError

    with pytest.raises(LookupError):
        async with Pipeline("p", Stream(range(10)).map(fails).discard()).start() as run:
            with pytest.raises(LookupError):
                await run.wait()
    assert run.metrics().state == "failed"
    assert run.metrics().events_in == 10


async def test_metrics_before_the_start() -> None:
    metrics = Pipeline("p", Stream([1]).discard()).start().metrics()
    assert metrics.state == "ready"
    assert metrics.seconds == 0
    assert metrics.events_in == 0


async def test_a_stage_is_found_by_a_part_of_its_name() -> None:
    metrics = (await Pipeline("p", Stream([1]).map(abs).buffer(1).to(print)).run()).metrics()
    assert metrics["map(abs)"].events_in == 1
    with pytest.raises(KeyError, match=r"'nothing'.*one of"):
        metrics["nothing"]


async def test_in_flight_goes_back_to_nothing() -> None:
    log, gate = Log(range(10), follow=True), Gate()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).map(gate, concurrency=3).discard()).start() as run:
            await gate.entered(3)
            await settle()
            assert run.metrics().in_flight == 10
            gate.open()
            while run.metrics().in_flight:
                await checkpoint()


async def test_an_inlet_that_has_ended_waits_no_longer() -> None:
    inlet = Inlet[int]()
    async with Pipeline("p", Stream(inlet).discard()).start() as run:
        await inlet.deliver(1)
        inlet.close()
        await run.wait()
    before = run.metrics()["inlet"].idle
    await anyio.sleep(0.02)
    assert run.metrics()["inlet"].idle == before
