"""Each guard of conftest.py and of pytest's settings bites."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

GOOD = """
    import asyncio, sqlite3, threading, anyio, pytest, sniffio, time
    from hypothesis import given, settings, strategies as st

    seen = set()

    @pytest.mark.anyio
    async def test_both_loops():
        seen.add(sniffio.current_async_library())
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)

    def test_both_loops_were_there():
        assert seen == {"asyncio", "trio"}

    @pytest.mark.asyncio
    async def test_asyncio():
        await asyncio.create_task(asyncio.sleep(0))
        await asyncio.to_thread(time.sleep, 0)

    @pytest.mark.asyncio
    async def test_cancelled_is_not_leaked():
        asyncio.create_task(asyncio.sleep(3600)).cancel()

    @pytest.mark.anyio
    @settings(max_examples=3)
    @given(st.integers())
    async def test_hypothesis(n):
        await anyio.sleep(0)

    @pytest.mark.asyncio
    async def test_a_test_may_use_its_files(tmp_path):
        (tmp_path / "x").write_text("x")
        assert (tmp_path / "x").read_text() == "x"
        db = sqlite3.connect(tmp_path / "x.db")
        db.execute("create table t(x)")
        db.close()

    @pytest.mark.blocking
    @pytest.mark.asyncio
    async def test_blocking_on_purpose():
        time.sleep(0)

    @pytest.mark.leaks_tasks
    @pytest.mark.asyncio
    async def test_leaking_on_purpose():
        asyncio.create_task(asyncio.sleep(3600))

    @pytest.fixture
    async def started(anyio_backend):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 3600)
            yield
            group.cancel_scope.cancel()

    @pytest.mark.anyio
    async def test_fixture_with_tasks(started):
        await anyio.sleep(0)

    def test_run_inside():
        async def main():
            await anyio.to_thread.run_sync(lambda: None)
        anyio.run(main)
        asyncio.run(main())
"""

BAD = """
    import asyncio, time, warnings, anyio, pytest
    from hypothesis import given, settings, strategies as st

    kept = []

    def test_warning():
        warnings.warn("old", DeprecationWarning)

    def test_never_awaited():
        asyncio.sleep(0)

    @pytest.mark.timeout(0.2, func_only=True)
    def test_time_limit():
        time.sleep(20)

    @pytest.mark.asyncio
    async def test_blocking():
        time.sleep(0)

    @pytest.mark.asyncio
    async def test_blocking_swallowed():
        try:
            time.sleep(0)
        except Exception:
            pass

    def test_blocking_in_a_run_inside():
        async def main():
            time.sleep(0)
        anyio.run(main)

    @pytest.mark.asyncio
    async def test_file_inside_reactor(tmp_path):
        (tmp_path / "x").write_text("x")
        space = {"path": tmp_path / "x"}
        exec(compile("path.read_text()", FOLDER + "/engine/x.py", "exec"), space)

    @pytest.mark.asyncio
    async def test_leak_asyncio():
        kept.append(asyncio.create_task(asyncio.sleep(3600)))

    @pytest.mark.anyio
    async def test_leak_anyio(anyio_backend):
        if anyio_backend == "asyncio":
            kept.append(asyncio.create_task(asyncio.sleep(3600)))
        else:
            import trio
            trio.lowlevel.spawn_system_task(trio.sleep, 3600)

    @pytest.mark.anyio
    @settings(max_examples=1, database=None)
    @given(st.just(1))
    async def test_leak_hypothesis(one):
        await anyio.sleep(0)
        try:
            kept.append(asyncio.create_task(asyncio.sleep(3600)))
        except RuntimeError:
            assert False, "trio"

    def test_leak_in_a_run_inside():
        async def main():
            kept.append(asyncio.create_task(asyncio.sleep(3600)))
        anyio.run(main)

    async def test_strict_mode_nobody_runs_it():
        pass
"""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str) -> pytest.RunResult:
    monkeypatch.setenv("COLUMNS", "250")  # the summary cuts its lines at the terminal's width
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess(
        *("-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest", "-p", "no:cacheprovider"),
        *("-p", "no:randomly", str(pytester.path)),
    )


@pytest.mark.timeout(120)
def test_good_tests_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    run(pytester, monkeypatch, GOOD).assert_outcomes(passed=13)


@pytest.mark.timeout(120)
def test_every_guard_bites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    source = BAD.replace("FOLDER", repr(str(ROOT / "reactor")))
    result = run(pytester, monkeypatch, source)
    result.assert_outcomes(failed=14)
    result.stdout.fnmatch_lines_random(
        [
            "*test_warning*DeprecationWarning: old*",
            "*test_never_awaited*",
            "*test_time_limit*Timeout*",
            "*test_blocking -*Blocking call to time.sleep*",
            "*test_blocking_swallowed*blocking calls on the event loop: time.sleep*",
            "*test_blocking_in_a_run_inside*Blocking call to time.sleep*",
            "*test_file_inside_reactor*Blocking call to io.TextIOWrapper.read*",
            "*test_leak_asyncio*asyncio tasks left behind*",
            "*test_leak_anyio?asyncio?*asyncio tasks left behind*",
            "*test_leak_anyio?trio?*1 trio task*left behind*",
            "*test_leak_hypothesis?asyncio?*asyncio tasks left behind*",
            "*test_leak_in_a_run_inside*asyncio tasks left behind*",
            "*test_strict_mode_nobody_runs_it*",
        ]
    )


def test_settings(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getini("filterwarnings") == ["error"]
    assert float(pytestconfig.getini("timeout")) == 60
    assert pytestconfig.getini("asyncio_mode") == "strict"
