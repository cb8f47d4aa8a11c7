"""The pytest plugin, as a user's tests have it: each in a pytest of its own."""

from pathlib import Path

import pytest

TIME = """
    import anyio, pytest
    from datetime import datetime, timezone
    from reactor.core import clock
    from reactor.testing import Stuck

    @pytest.fixture
    async def warm(anyio_backend):
        await anyio.sleep(60)
        return anyio.current_time()

    @pytest.mark.anyio
    async def test_an_hour(virtual_clock, warm):
        assert virtual_clock.elapsed == 60
        assert anyio.current_time() == warm
        await anyio.sleep(3600)
        assert virtual_clock.elapsed == 3660
        assert virtual_clock.now == datetime(2026, 1, 1, 1, 1, tzinfo=timezone.utc)
        assert clock.now() == virtual_clock.now.timestamp() * 1_000_000

    @pytest.mark.anyio
    @pytest.mark.virtual_clock(start=datetime(2030, 1, 1, tzinfo=timezone.utc), patience=0)
    async def test_settings(virtual_clock):
        assert clock.now() == datetime(2030, 1, 1, tzinfo=timezone.utc).timestamp() * 1_000_000

    def test_sync(virtual_clock):
        for loop in ("asyncio", "trio"):
            assert virtual_clock.run(anyio.sleep, 60, loop=loop) == (None, 60)
            assert virtual_clock.elapsed == 60

    @pytest.mark.anyio
    async def test_a_real_clock_afterwards():
        began = anyio.current_time()
        await anyio.sleep(0.01)
        assert 0.009 < anyio.current_time() - began < 30
        assert anyio.current_time() != 1000.01
"""

TIME_WRONG = """
    import asyncio, anyio, pytest

    @pytest.mark.anyio
    @pytest.mark.virtual_clock(patience=0)
    async def test_stuck(virtual_clock):
        await anyio.sleep_forever()

    @pytest.mark.asyncio
    async def test_not_ours(virtual_clock):
        pass

    @pytest.fixture
    async def early(anyio_backend):
        yield

    @pytest.mark.anyio
    async def test_too_late(early, virtual_clock):
        pass
"""

PROBES = """
    import pytest
    from reactor import Pipeline, Stream
    from reactor.testing import probed

    @pytest.mark.anyio
    async def test_probes(source_probe, sink_probe):
        async with probed(Stream(source_probe), sink_probe):
            source_probe.send(1)
            assert await sink_probe.next() == 1

    @pytest.mark.anyio
    async def test_left_open(source_probe):
        await source_probe.open()

    @pytest.mark.anyio
    async def test_sink_left_open(sink_probe):
        await sink_probe.open()
"""

CLEAN = """
    import asyncio, anyio, pytest
    from hypothesis import given, settings, strategies as st
    from reactor import Pipeline, Sink, Source, Stream, topic

    class Mine(Sink):
        async def write(self, events): pass
        async def close(self): pass

    @pytest.mark.anyio
    async def test_everything_closed(no_leaks, tmp_path):
        class Inner(Mine):
            async def open(self): await super().open()
            async def close(self): await super().close()
        numbers = topic(f"sqlite:{tmp_path}/x.db/numbers", int)
        await Pipeline("one", Stream([1, 2]).to(numbers)).run()
        await Pipeline("two", numbers.subscribe("g", follow=False).to(Inner())).run()

    @pytest.mark.anyio
    @settings(max_examples=2, database=None)
    @given(st.integers())
    async def test_hypothesis(n):
        await anyio.sleep(0)

    @pytest.fixture(autouse=True)
    def watched(no_leaks): pass

    @pytest.mark.leaks_tasks
    @pytest.mark.asyncio
    async def test_exempt():
        asyncio.create_task(asyncio.sleep(3600))
        await Mine().open()

    @pytest.mark.anyio
    async def test_virtual(virtual_clock):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 3600)
"""

LEAKS = """
    import asyncio, anyio, pytest
    from reactor import Sink, Source, topic
    from reactor.connectors.loops import OwnThread

    kept = []

    @pytest.fixture(autouse=True)
    def watched(no_leaks): pass

    class Mine(Sink):
        name = "mine"

    @pytest.mark.asyncio
    async def test_task():
        kept.append(asyncio.create_task(asyncio.sleep(3600)))

    @pytest.mark.anyio
    async def test_virtual(virtual_clock, anyio_backend):
        if anyio_backend == "asyncio":
            kept.append(asyncio.create_task(asyncio.sleep(3600)))
        else:
            import trio
            trio.lowlevel.spawn_system_task(trio.sleep, 3600)

    @pytest.mark.anyio
    async def test_sink():
        await Mine().open()

    @pytest.mark.anyio
    async def test_source_of_a_class_made_inside():
        class Inner(Source):
            async def open(self): pass
        await Inner().open()

    @pytest.mark.anyio
    async def test_thread():
        kept.append(OwnThread("reactor file x"))

    def test_run_inside():
        async def main():
            kept.append(asyncio.create_task(asyncio.sleep(3600)))
        anyio.run(main)
"""

UNASKED = """
    import asyncio
    import pytest
    from reactor import Sink

    @pytest.mark.asyncio
    async def test_not_watched():
        asyncio.create_task(asyncio.sleep(3600))
        await Sink().open()
"""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str) -> pytest.RunResult:
    monkeypatch.setenv("COLUMNS", "250")  # the summary cuts its lines at the terminal's width
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(source)
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:cacheprovider\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )
    return pytester.runpytest_subprocess("-p", "no:randomly")


pytestmark = pytest.mark.timeout(120)


def test_time_is_virtual(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    run(pytester, monkeypatch, TIME).assert_outcomes(passed=7)


def test_what_the_clock_can_not_do_is_told(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(pytester, monkeypatch, TIME_WRONG)
    result.assert_outcomes(failed=2, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "*test_stuck?asyncio?*Stuck: after 0 virtual seconds every task waits*",
            "*test_stuck?trio?*Stuck: after 0 virtual seconds every task waits*",
            "*test_not_ours*virtual_clock: mark the test with @pytest.mark.anyio*",
            "*test_too_late?asyncio?*an async fixture has started the loop already*",
            "*test_too_late?trio?*an async fixture has started the loop already*",
        ]
    )


def test_probes_are_closed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, PROBES)
    result.assert_outcomes(passed=6, errors=4)
    result.stdout.fnmatch_lines(["*source probe: opened 1 times, closed 0*", "*sink probe: opened 1*"])


def test_what_leaves_nothing_passes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    run(pytester, monkeypatch, CLEAN).assert_outcomes(passed=7)


def test_every_leak_is_found(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, LEAKS)
    result.assert_outcomes(failed=10)
    result.stdout.fnmatch_lines_random(
        [
            "*test_task -*asyncio tasks left behind*",
            "*test_virtual?asyncio?*asyncio tasks left behind*",
            "*test_virtual?trio?*1 trio task*left behind*",
            "*test_sink?asyncio?*left open: Mine 'mine'*",
            "*test_sink?trio?*left open: Mine 'mine'*",
            "*test_source_of_a_class_made_inside?asyncio?*left open: Inner*",
            "*test_thread?trio?*threads left behind: reactor file x*",
            "*test_run_inside*asyncio tasks left behind*",
        ]
    )


def test_who_does_not_ask_is_not_watched(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    run(pytester, monkeypatch, UNASKED).assert_outcomes(passed=1)


def test_the_page_about_testing_shows_a_test_that_passes(pytester: pytest.Pytester) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
    example = page.partition("## In pytest")[2].partition("```python\n")[2].partition("```")[0]
    assert "async def test_a_batch_waits_for_a_minute(" in example
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(example)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
