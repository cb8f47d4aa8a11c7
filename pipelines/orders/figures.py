"""The figures of ``analytics`` as a sink: in a file, as the last checkpoint has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread

from pipelines.orders.findings import Findings, encoded, load, save
from pipelines.orders.home import Home
from reactor import Sink

T = TypeVar("T")

Found = tuple[Callable[[Findings, Any], None], Any]
"""Where a result belongs in the findings, and the result."""


def found(where: Callable[[Findings, T], None]) -> Callable[[T], Found]:
    """Return a function that says of a result where it belongs."""
    return lambda result: (where, result)


class Figures(Sink[Found]):
    """Adds up what is found. Each checkpoint's sum is a file of its own until the next one is decided."""

    transactional = True

    def __init__(self, home: Home, new: Findings) -> None:
        self.name = home.analytics.name
        self.findings = new
        self._home = home

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        """Go on from the sum that belongs to the checkpoint. There is no other run: see ``Home.alone``."""
        kept = await to_thread.run_sync(self._recover, decided)
        if kept is not None:
            self.findings = kept

    async def write(self, events: Sequence[Found]) -> None:
        for where, result in events:
            where(self.findings, result)

    async def prepare(self, number: int) -> None:
        await to_thread.run_sync(partial(save, encoded(self.findings), self._sum(number), durably=True))

    async def publish(self, number: int) -> None:
        await to_thread.run_sync(self._publish, number)

    def _sum(self, number: int) -> Path:
        return self._home.analytics_state / f"{number}.json"

    def _publish(self, number: int) -> Path | None:
        sums = {int(path.stem): path for path in self._home.analytics_state.glob("*.json")}
        mine = max((each for each in sums if each <= number), default=None)
        if mine is None:
            return None
        save(sums[mine].read_bytes(), self._home.analytics)
        for each, path in sums.items():
            if each < mine:  # one that is greater is prepared for the next checkpoint
                path.unlink()
        return sums[mine]

    def _recover(self, decided: int) -> Findings | None:
        mine = self._publish(decided)
        for path in self._home.analytics_state.glob("*.json"):
            if path != mine:
                path.unlink()
        return None if mine is None else load(mine)
