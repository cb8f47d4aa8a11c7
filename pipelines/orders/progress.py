"""Live progress: bars on a terminal, now and then a line elsewhere. The figures are read from HOME."""

from __future__ import annotations

import time
from dataclasses import dataclass

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.orders.home import Home
from pipelines.orders.shop import Shop

_EVERY = 0.25
_PLAIN_EVERY = 2.0
_SMOOTH = 0.3
_COLOURS = {
    "waiting": "dim",
    "running": "cyan",
    "draining": "yellow",
    "done": "green",
    "stopped": "yellow",
    "failed": "bold red",
}


@dataclass
class Meter:
    """How far a part is."""

    done: int = 0
    total: int = 0
    rate: float = 0.0
    """Events in a second, smoothed."""

    def move(self, done: int, total: int, seconds: float) -> None:
        if seconds > 0:
            self.rate += _SMOOTH * ((done - self.done) / seconds - self.rate)
        self.done, self.total = done, total


class Progress:
    """Shows the parts of a shop until it is told to end."""

    def __init__(self, console: Console, shop: Shop, invoices: int) -> None:
        self._console = console
        self._shop = shop
        self._invoices = invoices
        self._begun = time.monotonic()
        self._meters: dict[str, Meter] = {}

    async def show(self, home: Home) -> None:
        """Show until it is cancelled."""
        async with home.orders() as orders, home.rejected() as rejected:
            before = time.monotonic()

            async def look(first: bool = False) -> None:
                nonlocal before
                now = time.monotonic()
                published, aside = await orders.length(), await rejected.length()
                groups = await orders.groups()
                everything = max(self._invoices, published)
                for name in list(self._shop.parts):
                    done = (
                        min(published + aside, everything)
                        if name == "producer"
                        else groups.get(name, self._shop.part(name).read)
                    )
                    meter = self._meters.setdefault(name, Meter(done))
                    meter.move(done, everything if name == "producer" else max(published, done), now - before)
                before = now

            if self._console.is_terminal:
                with Live(console=self._console, auto_refresh=False, transient=False) as live:
                    try:
                        while True:
                            await look()
                            live.update(self._bars(), refresh=True)
                            await anyio.sleep(_EVERY)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await look()
                        live.update(self._bars(), refresh=True)
            else:
                try:
                    while True:
                        await anyio.sleep(_PLAIN_EVERY)
                        await look()
                        self._console.print(self._line(), soft_wrap=True, highlight=False)
                finally:
                    with anyio.CancelScope(shield=True):
                        await look()
                    self._console.print(self._line(), soft_wrap=True, highlight=False)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def _line(self) -> str:
        parts: list[str] = []
        for name, meter in self._meters.items():
            part = self._shop.parts[name]
            state = "" if part.state in ("running", "done") else f" {part.state}"
            parts.append(f"{name} {meter.done:,}/{meter.total:,}{state}")
        return f"{self._seconds:6.1f} s  " + "  ".join(parts)

    def _bars(self) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=9)
        table.add_column(width=34)
        for _ in range(2):
            table.add_column(justify="right", min_width=14)
        table.add_column(min_width=8)
        for name, meter in self._meters.items():
            part = self._shop.parts[name]
            state = "draining" if part.state == "running" and self._shop.stop.is_set() else part.state
            colour = _COLOURS[state]
            bar = ProgressBar(
                total=max(meter.total, 1),
                completed=meter.done,
                width=34,
                complete_style=colour,
                finished_style=colour,
            )
            rate = f"{meter.rate:,.0f} /s" if part.state == "running" else ""
            table.add_row(
                Text(name, "bold"),
                bar,
                f"{meter.done:,} / {meter.total:,}",
                Text(rate, "dim"),
                Text(state, colour),
            )
        hint = "ctrl-C again: don't wait" if self._shop.stop.is_set() else "ctrl-C: stop, and go on later"
        return Group(table, Text(f"{self._seconds:.1f} s   {hint}", "dim"))
