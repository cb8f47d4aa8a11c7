"""How the commands end: what they print where something is wrong, and their exit codes."""

from __future__ import annotations

import os
import shlex
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import anyio
import typer
from rich.console import Console

from pipelines.orders.home import Home, HomeInUse
from pipelines.orders.logs import log_to
from pipelines.orders.report import report as figures
from pipelines.orders.rows import BadFile
from pipelines.orders.running import Interrupted, until_signalled
from pipelines.orders.shop import Shop
from pipelines.orders.world import NoWorld
from reactor import ArgumentError, MissingExtra, TopicError

R = TypeVar("R")

COMMAND = "python -m pipelines.orders"
FAILED, WRONG, INTERRUPTED = 1, 2, 128

out = Console()
err = Console(stderr=True)


def at(folder: Path, bus: str | None = None) -> Home:
    try:
        home = Home(folder, bus)
        home.published()  # the bus is known, and its client is installed
        log_to(home)
        return home
    except (ArgumentError, MissingExtra) as error:
        fail(WRONG, f"--bus: {error}")
    except OSError as error:
        fail(WRONG, f"--home {folder}: {error.strerror}")


def existing(folder: Path) -> Home:
    if not (folder / "shop.db").exists():
        fail(WRONG, f"--home {folder}: nothing was processed there")
    return Home(folder)


def guarded(main: Callable[[anyio.Event], Awaitable[R]]) -> R:
    """Run it; what the user can mend is told in one line."""
    try:
        return until_signalled(main)
    except (BadFile, HomeInUse) as error:
        fail(WRONG, str(error))
    except (NoWorld, TopicError, sqlite3.Error) as error:
        fail(FAILED, str(error))


def ended(shop: Shop) -> None:
    """Tell of the parts that failed, which have not held up the others."""
    if shop.failed:
        for part in shop.failed:
            notes = "".join(f"\n  {note}" for note in getattr(part.error, "__notes__", ()))
            tell(f"{part.name} failed: {type(part.error).__name__}: {part.error}{notes}")
        log = shop.home.path / "shop.log"
        fail(FAILED, f"see above, and {log}; start it again with the same --home to go on where it was")


def stopped(home: Home, orders: Path, interrupted: Interrupted) -> NoReturn:
    """Say what is done, and how to go on."""
    survey = home.survey()
    if survey is not None:
        now = anyio.run(figures, home)
        published = now.invoices
        how = "Stopped at once" if interrupted.hurried else "Stopped, and drained"
        out.print(f"\n{how}: {published:,} of {survey.invoices:,} invoices are published.")
        for name, consumer in now.consumers.items():
            left = f", {consumer.failed:,} of the published ones left" if consumer.failed else ""
            out.print(f"  {name}: {consumer.handled:,} handled{left}", highlight=False)
    else:
        out.print("\nStopped; nothing was published yet.")
    go_on = shlex.join([*COMMAND.split(), "run", "--orders", os.fspath(orders), "--home", str(home.path)])
    out.print("Nothing is lost. Go on with:")
    out.print(f"  {go_on}", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(INTERRUPTED + interrupted.number)


def write(target: Path, content: str) -> None:
    """Write it whole, or not at all."""
    beside = target.with_name(target.name + ".new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(content, "utf-8")
        beside.replace(target)
    except OSError as error:
        fail(WRONG, f"--report: {target}: {error.strerror}")


def tell(text: str) -> None:
    err.print(text, soft_wrap=True, highlight=False, markup=False, style="red")


def fail(code: int, text: str) -> NoReturn:
    tell(f"error: {text}")
    sys.stdout.flush()
    raise typer.Exit(code)
