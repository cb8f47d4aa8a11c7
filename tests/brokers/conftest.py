"""At the end one line for each broker: how many of its tests passed, or why none was run.

With CI=true a run of the whole folder fails when a server that can be had wasn't tested.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.servers import background

HERE = Path(__file__).parent
NAMES = tuple(name for name in background.NAMES if (HERE / name).is_dir())

_passed: Counter[str] = Counter()
_failed: Counter[str] = Counter()
_skipped: dict[str, str] = {}
_lines: list[str] = []


def _name(nodeid: str) -> str:
    return nodeid.partition("tests/brokers/")[2].partition("/")[0]


def pytest_itemcollected(item: pytest.Item) -> None:
    """The start of a server counts against the first test that asks for it; so do servers of other workers."""
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(150))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = _name(report.nodeid)
    if report.when == "call" and report.passed:
        _passed[name] += 1
    elif report.failed:
        _failed[name] += 1
    elif report.skipped and isinstance(report.longrepr, tuple):
        _skipped[name] = report.longrepr[2].removeprefix("Skipped: ")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped[_name(report.nodeid)] = report.longrepr[2].removeprefix("Skipped: ")


def _whole(config: pytest.Config) -> bool:
    """Whether all of them were asked for, and this process is the one that hears of all."""
    asked = [(config.invocation_params.dir / one.partition("::")[0]).resolve() for one in config.args]
    return (
        HERE in asked
        and "workerinput" not in vars(config)
        and not (config.option.keyword or config.option.markexpr or config.option.collectonly)
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _whole(session.config) or not (_passed or _failed or _skipped):
        return
    for name in NAMES:
        if _passed[name] or _failed[name]:
            failed = f", {_failed[name]} failed" if _failed[name] else ""
            _lines.append(f"{name}: {_passed[name]} passed at a real server{failed}")
            continue
        why = _skipped.get(name) or "no test was run"
        _lines.append(f"{name}: not tested: {why.removeprefix('not run: ')}")
        if os.environ.get("CI") == "true" and background.install(name) is None:
            _lines.append(f"{name}: the server can be had, so CI fails")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _lines:
        terminalreporter.write_line(line)
