"""The whole thing, as it is used: from the command line, on real data, through failures and kills."""

import gzip
import json
import random
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.waiting import TooLate, count, in_time, wait_until

DECEMBER = Path(__file__).parents[2] / "pipelines/orders/data/online_retail_2010_12.csv.gz"
CONSUMERS = ("email", "inventory", "payment", "fulfilment", "audit", "analytics")
pytestmark = pytest.mark.timeout(180)
Start = Callable[..., Any]
MakeRow = Callable[..., str]
OrdersFile = Callable[..., Path]

FIGURES = {
    "invoices": 2025,
    "orders": 1629,
    "cancellations": 326,
    "stock_adjustments": 70,
    "dead_letters": 0,
    "guest_orders": 229,
    "order_total": "823746.14",
    "cancellation_total": "-74789.12",
    "net_total": "748957.02",
    "orders_by_status": {
        "placed": 0,
        "paid": 0,
        "declined": 16,
        "packed": 0,
        "shipped": 1607,
        "cancelled": 6,
    },
    "consumers": {
        "email": {"handled": 1400, "failed": 0, "dead_letters": 0},
        "inventory": {"handled": 2025, "failed": 0, "dead_letters": 0},
        "payment": {"handled": 1613, "failed": 0, "dead_letters": 16},
        "fulfilment": {"handled": 1629, "failed": 0, "dead_letters": 0},
        "audit": {"handled": 2025, "failed": 0, "dead_letters": 0},
        "analytics": {"handled": 1955, "failed": 0, "dead_letters": 0},
    },
}
ANALYTICS = {
    "country_minutes": 1481,
    "sessions": {"count": 1244, "mean_seconds": 28.7, "gap_seconds": 1800},
    "cancellations": {"joined": 151, "not_joined": 175, "within_days": 30},
    "late": {"orders": 0, "revenue": "0.00", "in_best_sellers": 0, "in_sessions": 0},
}


@pytest.fixture(scope="module")
def run(app_to_its_end: Start) -> Start:
    """Run an orders file in a HOME, and return the report."""

    def start(orders: Path, home: Path, code: int = 0) -> Any:
        report = home / "report.json"
        report.unlink(missing_ok=True)
        app = app_to_its_end("run", "--orders", orders, "--home", home, "--report", report)
        assert app.process.returncode == code, app.out + app.err
        assert "Traceback" not in app.err
        return json.loads(report.read_text())

    return start


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of December, all three kinds of invoices among them, one rejected and one broken row."""
    header, *rows = gzip.decompress(DECEMBER.read_bytes()).splitlines()[:3500]
    # All of an order comes back.
    for cells in [row.split(b",") for row in rows if row.startswith(b"536368,")]:
        cells[0], cells[3], cells[4] = b"C536368", b"-" + cells[3], b"2010-12-02 11:30:00"
        rows.append(b",".join(cells))
    rows.insert(1000, b"A536500,B,Adjust bad debt,1,2010-12-01 12:00:00,-11.06,,United Kingdom")
    rows.insert(2000, b"536600,22633,no quantity,,2010-12-01 12:00:00,1.85,,United Kingdom")
    path = tmp_path_factory.mktemp("slice") / "orders.csv"
    path.write_bytes(b"\n".join([header, *rows, b""]))
    return path


@pytest.fixture(scope="module")
def finished(sliced: Path, run: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The slice after a run without any trouble: its HOME and its report."""
    home = tmp_path_factory.mktemp("finished")
    return home, run(sliced, home)


@pytest.fixture
def copied(finished: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of that HOME, to be spoiled."""
    return Path(shutil.copytree(finished[0], tmp_path / "home"))


def steps(home: Path) -> list[tuple[Any, ...]]:
    """All steps of all orders, but for when and by whom they were recorded."""
    with closing(sqlite3.connect(home / "shop.db", timeout=30)) as db:
        return db.execute(
            "SELECT topic, position, id, type, time, data FROM log WHERE topic LIKE 'order-%' ORDER BY 1, 2"
        ).fetchall()


# The figures ------------------------------------------------------------------------------------------------


def test_december_adds_up_and_a_second_run_changes_nothing(tmp_path: Path, app_to_its_end: Start) -> None:
    report = tmp_path / "figures" / "report.json"
    app = app_to_its_end("demo", "--home", tmp_path / "home", "--report", report)
    assert app.process.returncode == 0, app.out + app.err
    figures = json.loads(report.read_text())
    analytics = figures.pop("analytics")
    assert figures == FIGURES
    assert {name: analytics[name] for name in ANALYTICS} == ANALYTICS
    assert sum(map(Decimal, analytics["revenue_by_day"].values())) == Decimal(FIGURES["order_total"])  # type: ignore[arg-type]
    assert (len(analytics["revenue_by_day"]), analytics["revenue_by_day"]["2010-12-07"]) == (20, "99618.20")
    assert "£99,618.20" in report.with_name("report.html").read_text()
    assert "best day" in app.out
    assert app.out.count("✓") == 20
    assert "✗" not in app.out
    assert "simulated gateway's delay" in app.out
    assert str(tmp_path / "home") in app.out
    again = app_to_its_end(
        "run", "--orders", DECEMBER, "--home", tmp_path / "home", "--report", tmp_path / "again.json"
    )
    assert again.process.returncode == 0
    assert (tmp_path / "again.json").read_bytes() == report.read_bytes()
    printed = app_to_its_end("report", "--home", tmp_path / "home")
    assert json.loads(printed.out) == json.loads(report.read_text())


def test_rows_in_any_order_give_the_same_figures(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, run: Start
) -> None:
    header, *rows = sliced.read_bytes().splitlines(keepends=True)
    random.Random(5).shuffle(rows)
    shuffled = tmp_path / "shuffled.csv.gz"
    shuffled.write_bytes(gzip.compress(b"".join([header, *rows])))
    assert run(shuffled, tmp_path / "home") == finished[1]


def test_what_is_no_order_goes_to_the_dead_letters_and_nothing_else_does(
    orders_file: OrdersFile, make_row: MakeRow, tmp_path: Path, run: Start, app_to_its_end: Start
) -> None:
    broken = make_row("1", price="1,25")
    path = orders_file(
        [make_row("1", 2, "1.25"), broken, make_row("A7", 1, "-9.00"), make_row("C2", -1, "0.50"), "x,y"]
    )
    report = run(path, tmp_path)
    assert report["dead_letters"] == 3
    assert (report["invoices"], report["orders"], report["cancellations"]) == (3, 1, 1)
    assert (report["order_total"], report["net_total"]) == ("2.50", "-7.00")
    letters = app_to_its_end("dead-letters", "orders.dead", "--home", tmp_path).out.splitlines()
    assert sorted((letter["line"], letter["reason"]) for letter in map(json.loads, letters)) == [
        (3, "9 columns, where the header has 8"),
        (4, "invoice A7 is neither an order (digits) nor a cancellation (C and digits)"),
        (6, "2 columns, where the header has 8"),
    ]


def test_a_file_without_rows_gives_zeros(orders_file: OrdersFile, tmp_path: Path, run: Start) -> None:
    report = run(orders_file([]), tmp_path / "home")
    assert (report["invoices"], report["net_total"]) == (0, "0.00")
    assert report["analytics"]["revenue_by_day"] == {}


def test_a_file_that_ends_in_what_a_consumer_does_not_want_comes_to_its_end(
    orders_file: OrdersFile, make_row: MakeRow, tmp_path: Path, run: Start
) -> None:
    report = run(orders_file([make_row("C1", -1), make_row("C2", -3)]), tmp_path / "home")
    assert (report["orders"], report["cancellations"]) == (0, 2)
    assert report["consumers"]["payment"] == {"handled": 0, "failed": 0, "dead_letters": 0}


def test_an_order_with_a_negative_total_adds_up(
    orders_file: OrdersFile, make_row: MakeRow, tmp_path: Path, run: Start
) -> None:
    report = run(orders_file([make_row("1", 1, "-5.00"), make_row("2", 1, "5.00")]), tmp_path / "home")
    assert (report["orders"], report["order_total"]) == (2, "0.00")
    assert report["analytics"]["revenue_by_day"] == {"2010-12-01": "0.00"}
    assert report["consumers"]["payment"]["handled"] == 2


def test_declined_payments_can_be_read(finished: tuple[Path, Any], app_to_its_end: Start) -> None:
    home, report = finished
    letters = app_to_its_end("dead-letters", "payments.dead", "--home", home).out.splitlines()
    assert len(letters) == report["consumers"]["payment"]["dead_letters"] > 0
    assert all(json.loads(letter)["event"]["reason"] == "the card was declined" for letter in letters)


# Kills ------------------------------------------------------------------------------------------------------

MOMENTS: dict[str, Callable[[Path], bool]] = {
    "surveying": lambda home: (home / "source.db").exists(),
    "publishing": lambda home: count(home / "stock.db", "applied") >= 1,
    "a few charges": lambda home: count(home / "gateway.db", "charges") >= 10,
    "some mails": lambda home: count(home / "mail.db", "mails") >= 40,
    "some parcels": lambda home: count(home / "shop.db", "events WHERE type = 'Shipped'") >= 20,
    "many charges": lambda home: count(home / "gateway.db", "charges") >= 80,
}


def test_killed_again_and_again_it_ends_with_the_same_report(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, app: Start, run: Start, app_to_its_end: Start
) -> None:
    def kill(home: Path) -> Path:
        for reached in MOMENTS.values():
            killed = app("run", "--orders", sliced, "--home", home, "--report", home / "report.json")
            wait_until(lambda reached=reached: reached(home), killed)  # type: ignore[misc]
            killed.kill()
            if (home / "report.json").exists():
                raise TooLate
        return home

    home = in_time(tmp_path, kill)
    assert run(sliced, home) == finished[1]
    assert steps(home) == steps(finished[0])
    assert app_to_its_end("verify", "--home", home).process.returncode == 0
    # Some were sent twice, and are there once.
    with closing(sqlite3.connect(home / "mail.db")) as db:
        mails = finished[1]["consumers"]["email"]["handled"]
        assert db.execute("SELECT count(*) FROM mails").fetchone() == (mails,)


@pytest.mark.parametrize("moment", ["publishing", "a few charges", "some parcels"])
def test_killed_once_it_ends_with_the_same_report(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, app: Start, run: Start, moment: str
) -> None:
    def kill(home: Path) -> Path:
        killed = app("run", "--orders", sliced, "--home", home, "--report", home / "report.json")
        wait_until(lambda: MOMENTS[moment](home), killed)
        killed.kill()
        return home

    home = in_time(tmp_path, kill)
    assert run(sliced, home) == finished[1]
    assert steps(home) == steps(finished[0])


# Consumers on their own -------------------------------------------------------------------------------------


def test_every_part_runs_as_a_process_of_its_own(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, app: Start, app_to_its_end: Start
) -> None:
    consumers = {name: app("consume", name, "--home", tmp_path) for name in CONSUMERS}
    producer = app("produce", "--orders", sliced, "--home", tmp_path)
    assert producer.wait() == 0, producer.err
    for name, consumer in consumers.items():
        assert consumer.wait() == 0, f"{name}: {consumer.err}"
    printed = app_to_its_end("report", "--check", "--home", tmp_path)
    assert printed.process.returncode == 0, printed.err
    assert json.loads(printed.out) == finished[1]


def test_a_killed_consumer_doesnt_hold_up_the_others_and_goes_on_where_it_was(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, app: Start, app_to_its_end: Start
) -> None:
    def kill(home: Path) -> tuple[Path, Any]:
        consumers = {name: app("consume", name, "--home", home) for name in CONSUMERS}
        producer = app("produce", "--orders", sliced, "--home", home)
        payment, fulfilment = consumers.pop("payment"), consumers.pop("fulfilment")
        wait_until(lambda: count(home / "gateway.db", "charges") >= 20, payment)
        payment.kill()
        for consumer in [producer, *consumers.values()]:
            assert consumer.wait() == 0, consumer.err
        now = json.loads(app_to_its_end("report", "--home", home).out)["consumers"]
        done = finished[1]["consumers"]
        assert {name: now[name] for name in consumers} == {name: done[name] for name in consumers}
        if not now["payment"]["failed"]:
            raise TooLate
        return home, fulfilment

    home, fulfilment = in_time(tmp_path, kill)
    assert fulfilment.process.poll() is None  # it waits for what isn't paid yet
    payment = app("consume", "payment", "--home", home)
    assert payment.wait() == 0, payment.err
    assert fulfilment.wait() == 0, fulfilment.err
    assert json.loads(app_to_its_end("report", "--home", home).out) == finished[1]


@pytest.mark.parametrize("name", ["inventory", "fulfilment"])
def test_a_killed_consumer_that_is_started_again_writes_nothing_twice(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, app: Start, app_to_its_end: Start, name: str
) -> None:
    def kill(home: Path) -> tuple[Path, list[Any]]:
        consumers = {other: app("consume", other, "--home", home) for other in CONSUMERS}
        producer = app("produce", "--orders", sliced, "--home", home)
        begun = {
            "inventory": lambda: count(home / "stock.db", "applied") >= 1,
            "fulfilment": lambda: count(home / "shop.db", "events WHERE type = 'Shipped'") >= 1,
        }
        killed = consumers.pop(name)
        wait_until(begun[name], killed)
        killed.kill()
        return home, [producer, *consumers.values()]

    home, others = in_time(tmp_path, kill)
    for each in [app("consume", name, "--home", home), *others]:
        assert each.wait() == 0, each.err
    printed = app_to_its_end("report", "--check", "--home", home)
    assert printed.process.returncode == 0, printed.err
    assert json.loads(printed.out) == finished[1]
    assert steps(home) == steps(finished[0])


def test_a_failed_consumer_doesnt_hold_up_the_others_and_goes_on_where_it_was(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, run: Start, app_to_its_end: Start
) -> None:
    (tmp_path / "stock.db").write_bytes(b"this is no database" * 1000)
    report = tmp_path / "report.json"
    failed = app_to_its_end("run", "--orders", sliced, "--home", tmp_path, "--report", report)
    assert failed.process.returncode == 1
    assert "inventory failed: ProjectionError: projection inventory: " in failed.err
    assert "stock.db: file is not a database" in failed.err
    assert "Traceback" not in failed.err
    done = finished[1]["consumers"]
    now = json.loads(report.read_text())["consumers"]
    assert now.pop("inventory") == {**done["inventory"], "handled": 0, "failed": done["inventory"]["handled"]}
    assert now == {name: done[name] for name in now}
    (tmp_path / "stock.db").unlink()
    assert run(sliced, tmp_path) == finished[1]


def test_a_consumer_runs_once_in_a_home(finished: tuple[Path, Any], tmp_path: Path, app: Start) -> None:
    first = app("consume", "audit", "--home", tmp_path, "--follow")
    wait_until(lambda: (tmp_path / "audit.jsonl").exists(), first)
    second = app("consume", "audit", "--home", tmp_path)
    assert second.wait() == 2
    assert "another process runs audit here" in second.err
    first.interrupt()
    assert first.wait() == 130


def test_killed_analytics_comes_to_the_same(
    finished: tuple[Path, Any], copied: Path, app: Start, app_to_its_end: Start
) -> None:
    file = copied / "analytics.json"
    whole = file.read_bytes()
    file.write_bytes(b'{"orders": 1}')
    killed = app("consume", "analytics", "--home", copied, "--follow")
    wait_until(lambda: file.read_bytes() != b'{"orders": 1}', killed)
    killed.kill()
    again = app_to_its_end("consume", "analytics", "--home", copied)
    assert again.process.returncode == 0, again.err
    assert file.read_bytes() == whole
    printed = app_to_its_end("report", "--check", "--home", copied)
    assert printed.process.returncode == 0, printed.err
    assert json.loads(printed.out) == finished[1]


def test_analytics_that_follows_tells_what_it_has_found_so_far(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, app: Start, app_to_its_end: Start
) -> None:
    following = app("consume", "analytics", "--home", tmp_path, "--follow")
    assert app_to_its_end("produce", "--orders", sliced, "--home", tmp_path).process.returncode == 0

    def told() -> bool:
        file = tmp_path / "analytics.json"
        return file.exists() and '"orders":' in (text := file.read_text()) and '"windows":0' not in text

    wait_until(told, following)
    following.interrupt()
    assert following.wait() == 130
    assert app_to_its_end("consume", "analytics", "--home", tmp_path).process.returncode == 0
    now = json.loads(app_to_its_end("report", "--home", tmp_path).out)
    assert now["analytics"] == finished[1]["analytics"]


# What goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"InvoiceNo,StockCode,Quantity\n1,2,3\n", "no column Description, InvoiceDate"),
        (DECEMBER.read_bytes()[:1000], "damaged after line"),
        ("CAFÉ".encode("latin-1"), "isn't UTF-8"),
    ],
)
def test_a_file_that_cant_be_used_ends_with_2(
    tmp_path: Path, app_to_its_end: Start, content: bytes | None, message: str
) -> None:
    path = tmp_path / "orders.csv"
    if content is not None:
        path.write_bytes(content)
    app = app_to_its_end(
        "run", "--orders", path, "--home", tmp_path / "home", "--report", tmp_path / "r.json"
    )
    assert app.process.returncode == 2
    assert f"error: {path}" in app.err
    assert message in app.err
    assert "Traceback" not in app.err
    assert not (tmp_path / "r.json").exists()


def test_a_home_made_from_another_file_is_refused(
    copied: Path, orders_file: OrdersFile, make_row: MakeRow, app_to_its_end: Start
) -> None:
    other = orders_file([make_row("1")], "other.csv")
    app = app_to_its_end("run", "--orders", other, "--home", copied)
    assert app.process.returncode == 2
    assert "was made from another orders file" in app.err


def test_a_changed_byte_in_the_audit_file_is_found(copied: Path, sliced: Path, app_to_its_end: Start) -> None:
    audit = copied / "audit.jsonl"
    content = audit.read_bytes()
    assert app_to_its_end("verify", "--home", copied).process.returncode == 0
    audit.write_bytes(content.replace(b'"quantity":6', b'"quantity":9', 1))
    app = app_to_its_end("verify", "--home", copied)
    assert app.process.returncode == 1
    assert "was changed: its hash isn't that of its content" in app.err
    audit.write_bytes(b"".join(content.splitlines(keepends=True)[:-3]))
    app = app_to_its_end("verify", "--home", copied)
    assert app.process.returncode == 1
    assert "its end is cut off" in app.err
    app = app_to_its_end("run", "--orders", sliced, "--home", copied)
    assert app.process.returncode == 1
    assert "audit failed: AuditFault" in app.err


@pytest.mark.parametrize(
    ("database", "spoil", "line"),
    [
        ("mail.db", "DELETE FROM mails WHERE message_id LIKE '%536365%'", "<order-536365@shop.example>"),
        ("stock.db", "UPDATE applied SET units = units + 1 WHERE event = '536365'", "536365"),
        ("shop.db", "DELETE FROM events WHERE type = 'Shipped' AND id = 'shipped 536365'", "536365"),
        ("gateway.db", "UPDATE charges SET amount = '0.01' WHERE key = 'order-536365'", "536365"),
    ],
)
def test_what_doesnt_add_up_is_shown(
    copied: Path, app_to_its_end: Start, database: str, spoil: str, line: str
) -> None:
    with closing(sqlite3.connect(copied / database)) as db:
        assert db.execute(spoil).rowcount == 1
        db.commit()
    app = app_to_its_end("report", "--check", "--home", copied)
    assert app.process.returncode == 1
    assert app.err.count("✗") == 1
    assert f"           {line}" in app.err


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ('"revenue":{"2010-12-01":"', '"revenue":{"2010-12-01":"1', ["2010-12-01"]),
        ('"late":{"orders":0', '"late":{"orders":2', []),
        ('"units":', '"units":1', ["2010-12-01"]),
        ('"returns":{"C', '"returns":{"C9', ["C9"]),
        ('{"waits":', '["waits":', ["its file can be read"]),
    ],
)
def test_analytics_that_dont_add_up_are_shown(
    copied: Path, app_to_its_end: Start, old: str, new: str, shown: list[str]
) -> None:
    file = copied / "analytics.json"
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))
    app = app_to_its_end("report", "--check", "--home", copied)
    assert app.process.returncode == 1
    assert app.err.count("✗") == 1
    assert all(text in app.err for text in shown)
    assert "Traceback" not in app.err


def test_ctrl_c_drains_and_says_how_to_go_on(
    sliced: Path, finished: tuple[Path, Any], tmp_path: Path, app: Start, run: Start
) -> None:
    def interrupt(home: Path) -> tuple[Path, Any]:
        demo = app("demo", "--orders", sliced, "--home", home)
        wait_until(lambda: count(home / "gateway.db", "charges") >= 20, demo)
        demo.interrupt()
        return home, demo

    home, demo = in_time(tmp_path, interrupt)
    assert demo.wait() == 130
    assert "Stopped, and drained" in demo.out
    assert f"run --orders {sliced} --home {home}" in demo.out
    assert "Traceback" not in demo.err
    assert run(sliced, home) == finished[1]


def test_a_second_ctrl_c_doesnt_wait(sliced: Path, tmp_path: Path, app: Start) -> None:
    assert app("produce", "--orders", sliced, "--home", tmp_path).wait() == 0
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a gateway that takes charges and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        payment = app("consume", "payment", "--home", tmp_path, "--gateway", url)
        silent.accept()[0].close()
        payment.interrupt()
        with pytest.raises(subprocess.TimeoutExpired):
            payment.process.wait(1)
        payment.interrupt()
        assert payment.process.wait(30) == 130
    payment.wait()
    assert "Traceback" not in payment.out + payment.err


@pytest.mark.parametrize("moment", ["importing", "Everything stands in", "surveying"])
def test_ctrl_c_at_any_other_moment_has_no_traceback(
    sliced: Path, tmp_path: Path, app: Start, moment: str
) -> None:
    def interrupt(home: Path) -> Any:
        demo = app("demo", "--orders", sliced, "--home", home)
        if moment == "importing":
            wait_until(lambda: "msgspec" in Path(f"/proc/{demo.process.pid}/maps").read_text(), demo)
        else:
            demo.until_printed(moment)
        if demo.process.poll() == 0:
            raise TooLate
        demo.interrupt()
        return demo

    demo = in_time(tmp_path, interrupt)
    assert demo.wait() == 130
    assert "Traceback" not in demo.out + demo.err
