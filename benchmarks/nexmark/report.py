"""Tables on the terminal, and JSON."""

import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .events import Market
from .growth import Point
from .measuring import LEFT_OUT, QUERIES, SYSTEMS, Outcome, can


def show(console: Console, outcomes: list[Outcome], market: Market) -> None:
    found = {(outcome.query, outcome.system): outcome for outcome in outcomes}
    asked = [name for name in QUERIES if any(query == name for query, _ in found)]
    systems = [system for system in SYSTEMS if any(system == other for _, other in found)]
    shuffled = "in order" if market.shuffled <= 1 else f"shuffled in groups of {market.shuffled:,}"
    size = max(outcome.events for outcome in outcomes)
    table = Table(
        title=f"NEXMark, {size:,} events, {market.rate:,} per second of event time, {shuffled}",
        title_justify="left",
        title_style="bold",
    )
    for column in ("query", "system"):
        table.add_column(column, no_wrap=True)
    for column in ("rows", "ns/event", "events/s", "per core", "MiB", "reactor is"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("what", no_wrap=True)
    for name in asked:
        for system in systems:
            outcome = found.get((name, system))
            first = (name, QUERIES[name].what) if system == systems[0] else ("", "")
            if outcome is None:
                why = "failed" if can(system, name) else LEFT_OUT
                table.add_row(first[0], system, *[""] * 6, why, style="dim")
                continue
            ours = found.get((name, "reactor"))
            ratio = "" if ours is None or ours is outcome else f"{_ratio(ours, outcome):.3g} x"
            table.add_row(
                first[0],
                system,
                f"{outcome.rows:,}",
                f"{outcome.ns_per_event:,.0f}",
                f"{outcome.events_per_s:,.0f}",
                f"{outcome.events_per_s_per_core:,.0f}",
                "" if outcome.peak_mib is None else f"{outcome.peak_mib:,.0f}",
                ratio,
                first[1],
                style="bold" if system == "reactor" else None,
            )
    console.print(table)
    console.print(
        "answers are the oracle's; per core: events / seconds of all cores together; "
        "MiB: peak of the process, events are made while the query runs"
    )


def _ratio(ours: Outcome, theirs: Outcome) -> float:
    return ours.events_per_s_per_core / theirs.events_per_s_per_core


def show_growth(console: Console, points: list[Point]) -> None:
    table = Table(title="growth", title_justify="left", title_style="bold")
    table.add_column("with")
    table.add_column("query")
    for column in ("at", "events", "rows", "ns/event", "peak MiB"):
        table.add_column(column, justify="right")
    before = None
    for point in points:
        if before is not None and (before.of, before.query) != (point.of, point.query):
            table.add_section()
        before = point
        table.add_row(
            point.of,
            point.query,
            f"{point.at:,}",
            f"{point.events:,}",
            f"{point.rows:,}",
            f"{point.ns_per_event:,.0f}",
            "" if point.peak_mib is None else f"{point.peak_mib:,.0f}",
        )
    console.print(table)


def write_json(path: Path, outcomes: Iterable[Outcome], points: Iterable[Point]) -> None:
    rows = [outcome.row() for outcome in outcomes] + [point.row() for point in points]
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
