"""The command line: run, demo, produce, consume, serve, report, dead-letters, verify."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import anyio
import typer
from anyio import to_thread
from rich.console import Console
from rich.markup import escape

from pipelines.orders.audit import AuditFault
from pipelines.orders.audit import verify as verify_file
from pipelines.orders.closing import show_checks, show_figures
from pipelines.orders.home import Home, HomeInUse
from pipelines.orders.logs import log_to
from pipelines.orders.reconcile import reconcile
from pipelines.orders.report import Report
from pipelines.orders.report import report as figures
from pipelines.orders.rows import BadFile
from pipelines.orders.running import Interrupted, run_consumer, run_producer, run_shop, until_signalled
from pipelines.orders.shop import Shop
from pipelines.orders.world import NoWorld, World
from reactor import TopicError

R = TypeVar("R")

DECEMBER = Path(__file__).parent / "data" / "online_retail_2010_12.csv.gz"
COMMAND = "python -m pipelines.orders"
FAILED, WRONG, INTERRUPTED = 1, 2, 128

app = typer.Typer(
    help="Process the orders of an online shop: e-mail, stock, payment, audit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

OrdersFile = Annotated[Path, typer.Option("--orders", help="The orders file: CSV, gzipped or not.")]
HomeFolder = Annotated[Path, typer.Option("--home", help="The folder that holds everything; made if needed.")]


class ConsumerName(StrEnum):
    email = "email"
    inventory = "inventory"
    payment = "payment"
    audit = "audit"


@app.command()
def run(
    orders: OrdersFile,
    home: HomeFolder,
    report: Annotated[Path | None, typer.Option(help="Where the figures are written, as JSON.")] = None,
) -> None:
    """Publish an orders file and run all consumers until every order is handled.

    Stopped, interrupted or killed, it goes on where it was when it is started again with the same --home.
    """
    process(home, orders, report)


@app.command()
def demo(
    orders: OrdersFile = DECEMBER,
    home: Annotated[Path | None, typer.Option(help="The folder that holds everything; a new one.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where the figures are written, as JSON.")] = None,
) -> None:
    """Process December 2010 of a real shop, in one process, and show that everything adds up."""
    if home is None:
        home = Path(tempfile.mkdtemp(prefix="reactor-orders-"))
    process(home, orders, report)


def process(folder: Path, orders: Path, target: Path | None) -> None:
    home = at(folder)
    out.print(f"Everything stands in {escape(str(folder))}", soft_wrap=True, highlight=False)
    try:
        done = guarded(lambda stop: run_shop(home, orders, stop, out))
    except Interrupted as interrupted:
        stopped(home, orders, interrupted)
    out.print()
    summary = anyio.run(figures, home)
    show_figures(out, summary)
    complete = show_checks(out, anyio.run(reconcile, home))
    out.print(str(done.bound), highlight=False)
    if target is not None:
        write(target, summary)
        out.print(f"The figures are in {escape(str(target))}", soft_wrap=True, highlight=False)
    ended(done.shop)
    if not complete:
        fail(FAILED, "not everything adds up: see the lines that are marked")


@app.command()
def produce(orders: OrdersFile, home: HomeFolder) -> None:
    """Publish an orders file, without any consumer."""
    place = at(home)
    try:
        ended(guarded(lambda stop: run_producer(place, orders, stop)))
    except Interrupted as interrupted:
        raise typer.Exit(INTERRUPTED + interrupted.number) from None
    out.print(f"published: {anyio.run(place.orders().length):,} events", highlight=False)


@app.command()
def consume(
    name: Annotated[ConsumerName, typer.Argument(help="The consumer.")],
    home: HomeFolder,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on waiting for orders after the file is done.")
    ] = False,
    gateway: Annotated[str | None, typer.Option(help="The payment gateway's URL.")] = None,
    smtp: Annotated[str | None, typer.Option(help="The mail server, HOST:PORT.")] = None,
) -> None:
    """Run one consumer in a process of its own, until all that the producer publishes is handled.

    Without --gateway and --smtp it has simulated servers beside it.
    """
    place = at(home)
    world = None
    if gateway is not None or smtp is not None:
        host, _, port = (smtp or "127.0.0.1:25").rpartition(":")
        if not host or not port.isdecimal():
            fail(WRONG, f"--smtp {smtp}: should be HOST:PORT")
        world = World(gateway or "http://127.0.0.1:80", int(port), host)
    out.print(f"{name.value}: handling the orders in {escape(str(home))}", soft_wrap=True, highlight=False)
    try:
        ended(guarded(lambda stop: run_consumer(place, name.value, world, stop, follow=follow)))
    except Interrupted as interrupted:
        raise typer.Exit(INTERRUPTED + interrupted.number) from None
    handled = anyio.run(figures, place).consumers[name.value]
    out.print(
        f"{name.value}: {handled.handled:,} handled, {handled.failed:,} failed, "
        f"{handled.dead_letters:,} in the dead letters",
        highlight=False,
    )


@app.command()
def serve(
    home: HomeFolder,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen at; 0 takes a free one.")] = 8000,
) -> None:
    """Take orders over HTTP (POST /orders). What was answered with 202 is stored."""
    import uvicorn

    from pipelines.orders.web import Shopfront

    uvicorn.run(Shopfront(at(home)).app, host=host, port=port, log_level="info")


@app.command()
def report(
    home: HomeFolder,
    check: Annotated[bool, typer.Option("--check", help="Show whether everything adds up, too.")] = False,
) -> None:
    """Print the figures of a folder as JSON, as they are now."""
    place = existing(home)
    print(json.dumps(anyio.run(figures, place).json(), indent=2))
    if check and not show_checks(err, anyio.run(reconcile, place)):
        raise typer.Exit(FAILED)


@app.command("dead-letters")
def dead_letters(
    home: HomeFolder,
    topic: Annotated[str, typer.Argument(help="orders.dead, emails.dead or payments.dead")] = "payments.dead",
) -> None:
    """Print the dead letters of a topic, one JSON object a line."""
    place = existing(home)

    async def show() -> None:
        if topic == "orders.dead":
            async for rejected in place.rejected().records():
                value = rejected.value
                amount = None if value.amount is None else str(value.amount)
                print(
                    json.dumps(
                        {
                            "line": value.line,
                            "invoice": value.invoice,
                            "reason": value.reason,
                            "amount": amount,
                            "content": value.content,
                        }
                    )
                )
            return
        async for letter in place.dead_letters(topic).records():
            print(
                json.dumps(
                    {
                        "event": letter.value.event,
                        "error": letter.value.error,
                        "position": letter.value.position,
                        "attempts": letter.value.attempts,
                    }
                )
            )

    if topic not in ("orders.dead", "emails.dead", "payments.dead"):
        fail(WRONG, f"{topic}: the topics are orders.dead, emails.dead and payments.dead")
    anyio.run(show)


@app.command()
def verify(home: HomeFolder) -> None:
    """Check the audit file's chain, and that no record is missing at its end."""
    place = existing(home)

    async def check() -> int:
        records = await to_thread.run_sync(verify_file, place.audit)
        audited = await place.orders().position("audit") or 0
        if records < audited:
            raise AuditFault(f"has {records} records, but {audited} events were audited: its end is cut off")
        return records

    try:
        records = anyio.run(check)
    except AuditFault as fault:
        fail(FAILED, f"{place.audit}: {fault}")
    out.print(f"{place.audit}: {records:,} records, the chain holds", soft_wrap=True, highlight=False)


# Ends -------------------------------------------------------------------------------------------------------


def at(folder: Path) -> Home:
    try:
        home = Home(folder)
        log_to(home)
        return home
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


def write(target: Path, summary: Report) -> None:
    """Write the figures whole, or not at all."""
    beside = target.with_name(target.name + ".new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(summary.json(), indent=2) + "\n", "utf-8")
        beside.replace(target)
    except OSError as error:
        fail(WRONG, f"--report {target}: {error.strerror}")


def tell(text: str) -> None:
    err.print(text, soft_wrap=True, highlight=False, markup=False, style="red")


def fail(code: int, text: str) -> NoReturn:
    tell(f"error: {text}")
    sys.stdout.flush()
    raise typer.Exit(code)
