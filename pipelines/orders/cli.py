"""The command line: run, demo, produce, consume, serve, report, history, as-of, rebuild, dead-letters, verify."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer
from anyio import to_thread
from rich.markup import escape

from pipelines.orders.audit import AuditFault
from pipelines.orders.audit import verify as verify_file
from pipelines.orders.closing import show_checks, show_figures, show_findings
from pipelines.orders.ends import (
    FAILED,
    INTERRUPTED,
    WRONG,
    at,
    ended,
    err,
    existing,
    fail,
    guarded,
    out,
    stopped,
    write,
)
from pipelines.orders.inventory import stock
from pipelines.orders.page import page
from pipelines.orders.past import NoSuchOrder, as_of, moment, story
from pipelines.orders.reconcile import reconcile
from pipelines.orders.report import findings
from pipelines.orders.report import report as figures
from pipelines.orders.running import Interrupted, run_consumer, run_producer, run_shop
from pipelines.orders.telling import show_shop, show_story
from pipelines.orders.workers import BUS
from pipelines.orders.world import World
from reactor.eventstore import EventStoreError

DECEMBER = Path(__file__).parent / "data" / "online_retail_2010_12.csv.gz"

app = typer.Typer(
    help="Process the orders of an online shop: e-mail, stock, payment, fulfilment, audit, analytics.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OrdersFile = Annotated[Path, typer.Option("--orders", help="The orders file: CSV, gzipped or not.")]
HomeFolder = Annotated[Path, typer.Option("--home", help="The folder that holds everything; made if needed.")]

Bus = Annotated[
    str | None,
    typer.Option(
        "--bus",
        envvar=BUS,
        show_default=False,
        help="A broker to publish orders to, as kafka://localhost:9092; the embedded one.",
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes for e-mail and for payment, each, where there is a --bus.")
]

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


class ConsumerName(StrEnum):
    email = "email"
    inventory = "inventory"
    payment = "payment"
    fulfilment = "fulfilment"
    audit = "audit"
    analytics = "analytics"
    journal = "journal"


@app.command()
def run(
    orders: OrdersFile,
    home: HomeFolder,
    report: Annotated[Path | None, typer.Option(help="Where the figures are written, as JSON.")] = None,
    bus: Bus = None,
    workers: Workers = 0,
) -> None:
    """Publish an orders file and run all consumers until every order is handled.

    Stopped, interrupted or killed, it goes on where it was when it is started again with the same --home.
    """
    process(home, orders, report, bus, workers)


@app.command()
def demo(
    orders: OrdersFile = DECEMBER,
    home: Annotated[Path | None, typer.Option(help="The folder that holds everything; a new one.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where the figures are written, as JSON.")] = None,
    bus: Bus = None,
    workers: Workers = 0,
) -> None:
    """Process December 2010 of a real shop, in one process, and show that everything adds up."""
    if home is None:
        home = Path(tempfile.mkdtemp(prefix="reactor-orders-"))
    process(home, orders, report, bus, workers)


def process(folder: Path, orders: Path, target: Path | None, bus: str | None, workers: int) -> None:
    if workers and bus is None:
        fail(WRONG, "--workers: processes share their work by a broker; name one with --bus")
    home = at(folder, bus)
    out.print(f"Everything stands in {escape(str(folder))}", soft_wrap=True, highlight=False)
    try:
        done = guarded(lambda stop: run_shop(home, orders, stop, out, workers))
    except Interrupted as interrupted:
        stopped(home, orders, interrupted)
    out.print()
    summary = anyio.run(figures, home)
    show_figures(out, summary)
    found = findings(home.analytics)
    show_findings(out, found)
    complete = show_checks(out, anyio.run(reconcile, home))
    out.print(str(done.bound), highlight=False)
    if target is not None:
        beside = target.with_name(f"{target.stem}.html")
        if beside == target:
            beside = target.with_name(f"{target.name}.html")
        write(target, json.dumps(summary.json(), indent=2) + "\n")
        write(beside, page(found))
        out.print(f"The figures are in {escape(str(target))}", soft_wrap=True, highlight=False)
        out.print(f"To look at: {escape(str(beside))}", soft_wrap=True, highlight=False)
    ended(done.shop)
    if not complete:
        fail(FAILED, "not everything adds up: see the lines that are marked")


@app.command()
def produce(orders: OrdersFile, home: HomeFolder, bus: Bus = None) -> None:
    """Publish an orders file, without any consumer."""
    place = at(home, bus)
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
    bus: Bus = None,
) -> None:
    """Run one consumer in a process of its own, until all that the producer publishes is handled.

    Without --gateway and --smtp it has simulated servers beside it. With --bus, e-mail and payment take their
    events from there, in any number of processes, and the consumer journal is to run, too.
    """
    if name is ConsumerName.journal and bus is None:
        fail(WRONG, "journal: it writes what comes over a broker; name one with --bus")
    place = at(home, bus)
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
    if name is ConsumerName.journal:
        out.print(f"journal: {anyio.run(place.orders().length):,} events", highlight=False)
        return
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
    bus: Bus = None,
) -> None:
    """Take orders over HTTP (POST /orders). What was answered with 202 is stored."""
    import uvicorn

    from pipelines.orders.web import Shopfront

    uvicorn.run(Shopfront(at(home, bus)).app, host=host, port=port, log_level="info")


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


@app.command()
def history(
    order: Annotated[str, typer.Argument(help="The order's invoice number.")],
    home: HomeFolder,
    as_json: Json = False,
) -> None:
    """Tell an order's story: each of its steps, with what it was then."""
    place = existing(home)
    try:
        told = anyio.run(story, place, order)
    except NoSuchOrder as error:
        fail(WRONG, str(error))
    if as_json:
        print(json.dumps([each.json() for each in told], indent=2))
    else:
        show_story(out, told)


@app.command("as-of")
def as_of_(
    time: Annotated[
        str, typer.Argument(help="2010-12-07T12:00 (UTC where it names no zone), or a day, to its end.")
    ],
    home: HomeFolder,
    as_json: Json = False,
) -> None:
    """Show the shop as it was at a time: orders, revenue and stock, from the events until then."""
    place = existing(home)
    try:
        when = moment(time)
    except ValueError as error:
        fail(WRONG, str(error))
    then = anyio.run(as_of, place, when)
    if as_json:
        print(json.dumps(then.json(), indent=2))
    else:
        show_shop(out, then)


class ProjectionName(StrEnum):
    inventory = "inventory"


@app.command()
def rebuild(
    name: Annotated[ProjectionName, typer.Argument(help="The table.")],
    home: HomeFolder,
) -> None:
    """Make a table anew from all events; until it is done, the old one stays in place."""
    projection = stock(existing(home))

    async def again() -> tuple[int, int]:
        await projection.rebuild()
        ((events,),) = await projection.query("SELECT count(*) FROM applied")
        ((products,),) = await projection.query("SELECT count(*) FROM stock")
        return events, products

    try:
        events, products = anyio.run(again)
    except (EventStoreError, sqlite3.Error) as error:
        fail(FAILED, str(error))
    out.print(
        f"{name.value}: made anew from {events:,} events; it has {products:,} products", highlight=False
    )


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
