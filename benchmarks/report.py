"""Tables on the terminal, and JSON."""

import json
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .goals import Verdict
from .harness import Outcome, Workload


def show_versions(console: Console, systems: Iterable[str]) -> None:
    """What was measured, in one line."""
    found = [f"{platform.python_implementation()} {platform.python_version()}"]
    for system in systems:
        try:
            found.append(f"{system} {metadata.version('reactor-streams' if system == 'reactor' else system)}")
        except metadata.PackageNotFoundError:
            continue
    console.print(", ".join(found), style="dim", markup=False, highlight=False)


def show(console: Console, workload: Workload, outcomes: list[Outcome], verdicts: list[Verdict]) -> None:
    """One workload: each system's cost, and beside reactor's line the goals."""
    table = Table(title=f"{workload.name}: {workload.what}", title_justify="left", title_style="bold")
    table.add_column("system")
    table.add_column("events", justify="right")
    table.add_column(f"ns/{workload.unit}", justify="right")
    table.add_column("events/s", justify="right")
    table.add_column("of the loop", justify="right")
    table.add_column("reactor is", justify="right")
    table.add_column("goal")
    by_system = {verdict.goal.against: verdict for verdict in verdicts}
    reactor = next((outcome for outcome in outcomes if outcome.system == "reactor"), None)
    for outcome in outcomes:
        times = ""
        if reactor is not None and outcome is not reactor:
            times = f"{_short(outcome.ns_per_event / reactor.ns_per_event)} x"
        table.add_row(
            outcome.system,
            f"{outcome.events:,}",
            f"{outcome.ns_per_event:,.0f}",
            f"{1e9 / outcome.ns_per_event:,.0f}",
            _short(outcome.ratio_to_loop),
            times,
            _verdict(by_system[outcome.system]) if outcome.system in by_system else "",
            style="bold" if outcome is reactor else None,
        )
    console.print(table)


def summary(console: Console, verdicts: list[Verdict]) -> None:
    if not verdicts:
        return
    table = Table(title="goals", title_justify="left", title_style="bold")
    table.add_column("workload")
    table.add_column("goal")
    table.add_column("measured", justify="right")
    table.add_column("")
    for verdict in verdicts:
        measured = verdict.ratio
        if verdict.goal.workload == "latency":
            measured = 1 / measured
        table.add_row(verdict.goal.workload, verdict.goal.text, _short(measured), _met(verdict.met))
    console.print(table)
    console.print(f"{sum(verdict.met for verdict in verdicts)} of {len(verdicts)} goals met")


def write_json(path: Path, outcomes: Iterable[Outcome], growth: list[dict[str, Any]]) -> None:
    rows = [outcome.row() for outcome in outcomes] + growth
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _verdict(verdict: Verdict) -> Text:
    return Text.assemble(f"{verdict.goal.text}: ", _met(verdict.met))


def _met(met: bool) -> Text:
    return Text("met", style="green") if met else Text("not met", style="bold red")


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
