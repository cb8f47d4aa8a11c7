"""``python -m benchmarks [WORKLOAD...]``: reactor beside the hand-written loop and its peers.

``python -m benchmarks nexmark [QUERY...]`` runs the queries of NEXMark: see ``benchmarks/nexmark``;
``python -m benchmarks brokers [NAME...]`` goes through real brokers: see ``benchmarks/brokers``.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console

from . import growth, report
from .goals import judge
from .harness import SYSTEMS, Outcome, compare, missing
from .workloads import WORKLOADS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; default: all"
    )
    parser.add_argument(
        "--systems", help=f"comma-separated, of {', '.join(SYSTEMS)}; the loop always takes part"
    )
    parser.add_argument("--rounds", type=int, help="counted rounds of each workload (default 7, quick 1)")
    parser.add_argument("--events", type=int, help="events per run; slow systems take a fixed share of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the figures there")
    parser.add_argument(
        "--growth", action="store_true", help="also depth, concurrency, capacity, events and memory"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few events, one round: does it run, do results agree"
    )
    given = parser.parse_args(arguments)
    for name in given.workloads:
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
    given.systems = given.systems.split(",") if given.systems else list(SYSTEMS)
    for name in given.systems:
        if name not in SYSTEMS:
            parser.error(f"no system {name!r}; there are {', '.join(SYSTEMS)}")
    for name in ("rounds", "events"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: must be >= 1")
    return given


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["nexmark"]:
        from .nexmark import command

        return command.main(words[1:])
    if words[:1] == ["brokers"]:
        from .brokers import command as at_brokers

        return at_brokers.main(words[1:])
    given = parse(arguments)
    # Peers warn about Python versions and each other; that isn't this report's subject.
    warnings.simplefilter("ignore")
    # Into a file or a pipe: wide enough that no figure is cut.
    console = Console(width=None if sys.stdout.isatty() else 120)
    absent = missing(given.systems)
    for system, reason in absent.items():
        console.print(f"{system} is left out: {reason}", markup=False)
    systems = [system for system in given.systems if system not in absent]
    report.show_versions(console, systems)
    rounds = given.rounds or (1 if given.quick else 7)
    chosen = [WORKLOADS[name] for name in given.workloads or WORKLOADS]
    outcomes: list[Outcome] = []
    failures: list[str] = []
    for workload in chosen:

        def failed(system: str, error: Exception) -> None:
            line = f"{workload.name}: {system} failed: {type(error).__name__}: {error}"
            failures.append(line)
            console.print(line, style="bold red", markup=False)

        events = given.events or (workload.events // 100 if given.quick else workload.events)
        with console.status(workload.name) as status:
            found = compare(
                workload,
                rounds=rounds,
                events=events,
                systems=systems,
                progress=status.update,
                failed=failed,
            )
        outcomes += found
        report.show(console, workload, found, judge(found))
    report.summary(console, judge(outcomes))
    if not (given.workloads or given.growth or given.quick) and "reactor" in systems:
        growth.measure_memory(console, failures, growth.EVENTS[:3:2])
    grown: list[dict[str, Any]] = growth.measure(console, failures, quick=given.quick) if given.growth else []
    if given.json:
        report.write_json(given.json, outcomes, grown)
        console.print(f"figures: {given.json}", markup=False)
    if given.plot and outcomes:
        from .plot import draw

        measured = {outcome.workload for outcome in outcomes}
        draw(given.plot, [workload for workload in chosen if workload.name in measured], outcomes)
        console.print(f"plot: {given.plot}", markup=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
