"""``python -m benchmarks brokers [NAME...]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.servers import background, sqs
from tests.servers.server import Missing

from .bare import PRODUCE
from .measuring import Figures, measure

EVENTS = {"nats": 5_120, "sqs": 2_560, "pubsub": 10_240}
"""Where each event is synced to the disk by itself, or the server is an imitation."""

GOALS = {("produce", "bare"): 0.8, ("consume", "bare"): 0.8, ("handle", "faststream"): 3.0}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks brokers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PRODUCE)}; default: all")
    parser.add_argument("--events", type=int, help="of each round; default: 51,200, or less")
    parser.add_argument("--rounds", type=int, default=4, help="that count, after one that doesn't")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in PRODUCE:
            parser.error(f"no broker {name!r}; there are {', '.join(PRODUCE)}")
    console = Console(width=None if Console().is_terminal else 120)
    found: list[Figures] = []
    failed = False
    for name in given.names or PRODUCE:
        try:
            server: Any = background.kind_of(name)()
        except Missing as missing:
            console.print(f"{name} is left out: {missing}", markup=False)
            continue
        if name == "sqs":
            os.environ.update(AWS_ACCESS_KEY_ID=sqs.KEY, AWS_SECRET_ACCESS_KEY=sqs.SECRET)
        try:
            server.start()
            pattern = background.url_of(server)
            plain = pattern.replace("/TOPIC", "/")
            with console.status(name):
                figures = asyncio.run(
                    measure(
                        name,
                        partial(pattern.replace, "TOPIC"),
                        plain,
                        events=given.events or EVENTS.get(name, 51_200),
                        rounds=given.rounds,
                    )
                )
        except Exception as error:
            console.print(f"{name} failed: {type(error).__name__}: {error}", style="bold red", markup=False)
            failed = True
            continue
        finally:
            server.close()
        found.append(figures)
        show(console, figures)
    if given.json:
        given.json.write_text(json.dumps({one.broker: one.rates for one in found}, indent=2) + "\n")
    return 1 if failed else 0


def show(console: Console, figures: Figures) -> None:
    table = Table(title=figures.broker, title_justify="left")
    for column in ("what", "reactor", "the other", "reactor is", "goal"):
        table.add_column(column, justify="left" if column in ("what", "goal") else "right")
    for what, by in figures.rates.items():
        ours = figures.of(what, "reactor")
        assert ours is not None
        others = [who for who in by if who != "reactor"]
        if not others:
            table.add_row(f"{what}", f"{ours:,.0f}/s", "", "", "")
        for who in others:
            its = figures.of(what, who)
            assert its is not None
            if what == "latency":
                row = f"{ours * 1e3:.2f} ms", f"{its * 1e3:.2f} ms ({who})", f"{ours / its:.2f} x as long", ""
            else:
                goal = GOALS.get((what, who))
                met = "" if goal is None else f">= {goal}: {'met' if ours / its >= goal else 'not met'}"
                row = f"{ours:,.0f}/s", f"{its:,.0f}/s ({who})", f"{ours / its:.2f} x", met
            table.add_row(what, *row)
    console.print(table)
