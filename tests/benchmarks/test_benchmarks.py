"""The benchmark runs, agrees on results, and writes the JSON that it promises."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import goals, harness
from benchmarks.workloads import WORKLOADS

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parents[2]
KEYS = {"workload", "system", "events", "events_per_s", "ns_per_event", "ratio_to_loop"}


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path, str]:
    folder = tmp_path_factory.mktemp("bench")
    done = bench("--quick", "--json", folder / "figures.json", "--plot", folder / "figures.png")
    # The exit status says that no system failed and that every result was the loop's.
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "figures.json").read_text()), folder / "figures.png", done.stdout


def test_every_workload_has_reactor_beside_its_baseline(quick: Any) -> None:
    rows, _, _ = quick
    found = {(row["workload"], row["system"]) for row in rows}
    assert found >= {(name, each) for name, work in WORKLOADS.items() for each in ("reactor", work.baseline)}


def test_the_json_has_the_promised_form(quick: Any) -> None:
    rows, _, _ = quick
    for row in rows:
        assert set(row) == KEYS
        assert row["system"] in harness.SYSTEMS
        assert row["events"] >= harness.FEWEST
        assert row["ns_per_event"] > 0
        assert row["ratio_to_loop"] > 0
        assert row["events_per_s"] == pytest.approx(1e9 / row["ns_per_event"], rel=0.01)
        assert row["system"] != "loop" or row["ratio_to_loop"] == 1


def test_the_plot_is_a_png(quick: Any) -> None:
    _, plot, _ = quick
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_goals_are_judged_on_the_terminal(quick: Any) -> None:
    _, _, shown = quick
    assert "goals met" in shown


def test_an_unknown_workload_is_refused_with_those_that_exist() -> None:
    done = bench("fusd")
    assert done.returncode == 2
    assert "no workload 'fusd'; there are fused, channels" in done.stderr


def test_a_peer_that_cannot_be_imported_is_named_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streamz", None)
    assert list(harness.missing(["loop", "streamz"])) == ["streamz"]


def test_a_wrong_result_is_reported_and_left_out() -> None:
    work = harness.Workload("odd", "a system that miscounts", events=100)
    work.system("loop")(lambda events: events)
    work.system("reactor")(lambda events: events - 1)
    told: list[tuple[str, str]] = []

    def failed(system: str, error: Exception) -> None:
        told.append((system, str(error)))

    outcomes = harness.compare(work, rounds=1, events=100, systems=["reactor"], failed=failed)
    assert [outcome.system for outcome in outcomes] == ["loop"]
    assert told == [("reactor", "gave 99 for 100 events, the loop 100")]


def test_rounds_are_interleaved() -> None:
    order: list[str] = []
    work = harness.Workload("order", "who runs when", events=100)
    work.system("loop")(lambda events: order.append("loop"))
    work.system("asyncgen")(lambda events: order.append("asyncgen"))
    harness.compare(work, rounds=3, events=100, systems=["asyncgen"])
    assert order[-6:] == ["loop", "asyncgen"] * 3


def test_a_goal_is_judged_by_the_median_of_the_rounds_ratios() -> None:
    outcomes = [
        harness.Outcome("fused", "reactor", 100, (100.0, 100.0, 900.0), (1.0, 1.0, 1.0)),
        harness.Outcome("fused", "loop", 100, (95.0, 80.0, 900.0), (1.0, 1.0, 1.0)),
    ]
    (verdict,) = goals.judge(outcomes)
    assert (verdict.ratio, verdict.met) == (0.95, True)
