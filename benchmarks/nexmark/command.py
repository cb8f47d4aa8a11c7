"""``python -m benchmarks nexmark [QUERY...]``: the queries of NEXMark, on reactor and on Bytewax."""

import argparse
import sys
import warnings
from pathlib import Path

from rich.console import Console

from benchmarks.harness import missing
from benchmarks.report import show_versions

from . import growth, memory, report
from .events import Market, generate
from .measuring import QUERIES, SYSTEMS, Outcome, can, compare

EVENTS = 200_000


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks nexmark", description=__doc__)
    parser.add_argument("queries", nargs="*", metavar="QUERY", help=f"of {', '.join(QUERIES)}; default: all")
    parser.add_argument("--systems", help=f"comma-separated, of {', '.join(SYSTEMS)}")
    parser.add_argument("--events", type=int, help=f"events per run (default {EVENTS:,}, quick 4,000)")
    parser.add_argument("--rounds", type=int, help="counted rounds of each query (default 5, quick 1)")
    parser.add_argument(
        "--rate", type=int, help="events per second of event time (default 10,000, quick 200)"
    )
    parser.add_argument("--shuffled", type=int, default=1, metavar="N", help="shuffle groups of N events")
    parser.add_argument("--seed", type=int, default=1, help="other events")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the figures there")
    parser.add_argument("--growth", action="store_true", help="also with events, keys and windows")
    parser.add_argument("--quick", action="store_true", help="few events, one round: are answers right")
    given = parser.parse_args(arguments)
    given.queries = given.queries or list(QUERIES)
    given.systems = given.systems.split(",") if given.systems else list(SYSTEMS)
    for what, names, known in (("query", given.queries, QUERIES), ("system", given.systems, SYSTEMS)):
        for name in names:
            if name not in known:
                parser.error(f"no {what} {name!r}; there are {', '.join(known)}")
    for name in ("events", "rounds", "rate", "shuffled"):
        value = getattr(given, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: must be >= 1")
    return given


def main(arguments: list[str]) -> int:
    given = parse(arguments)
    # Peers warn about Python versions and each other; that isn't this report's subject.
    warnings.simplefilter("ignore")
    console = Console(width=None if sys.stdout.isatty() else 120)
    absent = missing(given.systems)
    for system, reason in absent.items():
        console.print(f"{system} is left out: {reason}", markup=False)
    systems = [system for system in given.systems if system not in absent]
    show_versions(console, systems)
    market = Market(given.seed, given.rate or (200 if given.quick else 10_000), given.shuffled)
    count = given.events or (4_000 if given.quick else EVENTS)
    with console.status("making events"):
        events = list(generate(count, market))
    outcomes: list[Outcome] = []
    failures: list[str] = []
    for name in given.queries:

        def failed(system: str, error: Exception) -> None:
            failures.append(f"{name}: {system} failed: {type(error).__name__}: {error}")
            console.print(failures[-1], style="bold red", markup=False)

        with console.status(name):
            outcomes += compare(
                QUERIES[name],
                events,
                systems=[system for system in systems if can(system, name)],
                rounds=given.rounds or (1 if given.quick else 5),
                failed=failed,
            )
    if not given.quick:
        for outcome in outcomes:
            with console.status(f"memory of {outcome.query}, {outcome.system}"):
                outcome.peak_mib = memory.measure(outcome.system, outcome.query, outcome.events, market)
    if outcomes:
        report.show(console, outcomes, market)
    points: list[growth.Point] = []
    if given.growth:
        with console.status("growth"):
            points += growth.measure(quick=given.quick)
        report.show_growth(console, points)
    if given.json:
        report.write_json(given.json, outcomes, points)
        console.print(f"figures: {given.json}", markup=False)
    if given.plot and outcomes:
        from .plot import draw

        draw(given.plot, outcomes, points, market)
        console.print(f"plot: {given.plot}", markup=False)
    return 1 if failures else 0
