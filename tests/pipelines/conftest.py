"""Orders files that are made up, and the application as a child process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from pipelines.orders.cli import DECEMBER
from pipelines.orders.events import OrderEvent, Rejected
from pipelines.orders.gather import Gather, classify
from pipelines.orders.rows import End, check, records
from pipelines.orders.survey import last_lines, survey

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def row(
    invoice: str,
    quantity: int | str = 2,
    price: str = "1.25",
    *,
    code: str = "85123A",
    customer: str = "17850.0",
    time: str = "2010-12-01 08:26:00",
    description: str = "WHITE HANGING HEART",
) -> str:
    return f"{invoice},{code},{description},{quantity},{time},{price},{customer},United Kingdom"


@pytest.fixture
def make_row() -> Callable[..., str]:
    return row


@pytest.fixture
def orders_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an orders file: the header, and these lines."""

    def make(lines: Iterable[str], name: str = "orders.csv", header: str = HEADER) -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
        return path

    return make


def consumers(home: Path, name: str = "") -> Iterator[int]:
    """The processes that run a consumer, or any, on this HOME."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(home) in words and b"consume" in words and (not name or name.encode() in words):
            yield int(folder.name)


class App:
    """``python -m pipelines.orders`` in a child process."""

    def __init__(self, *arguments: str | Path) -> None:
        self._home = Path(arguments[arguments.index("--home") + 1]) if "--home" in arguments else None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.orders", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
            start_new_session=True,
        )
        self.out = ""
        self.err = ""
        self._printed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=("out", self.process.stdout)),
            threading.Thread(target=self._read, args=("err", self.process.stderr)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any) -> None:
        for line in stream:
            with self._printed:
                setattr(self, name, getattr(self, name) + line)
                self._printed.notify_all()
        stream.close()

    def until_printed(self, text: str, timeout: float = 60) -> None:
        with self._printed:
            assert self._printed.wait_for(lambda: text in self.out + self.err, timeout), self.out + self.err

    def wait(self, timeout: float = 150) -> int:
        """Return the exit code."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise
        for reader in self._readers:
            reader.join()
        return code

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.process.kill()
        self.wait()

    def end(self) -> None:
        """End it, and the consumers on its HOME: those that it has started outlive it and hold its output open."""
        self.process.kill()
        self.process.wait()
        for pid in consumers(self._home) if self._home else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()


@pytest.fixture
def app() -> Generator[Callable[..., App], None, None]:
    """Start the application; what still runs after the test is killed."""
    started: list[App] = []

    def start(*arguments: str | Path) -> App:
        started.append(App(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture(scope="session")
def app_to_its_end() -> Callable[..., App]:
    """Run the application to its end."""

    def run(*arguments: str | Path) -> App:
        one = App(*arguments)
        one.wait()
        return one

    return run


@pytest.fixture(scope="session")
def december(tmp_path_factory: pytest.TempPathFactory) -> list[OrderEvent]:
    """All events of December 2010, as the producer makes them of the file that the project carries."""
    database = tmp_path_factory.mktemp("december") / "source.db"
    survey(DECEMBER, database)
    rows = [what for what in map(check, chain(records(DECEMBER), [End()])) if not isinstance(what, Rejected)]
    events = list(map(classify, Gather(last_lines(database)).add(rows)))
    assert not any(isinstance(event, Rejected) for event in events)
    return [event for event in events if not isinstance(event, Rejected)]
