"""Several events become one: batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactor.delivery import Fail, OnError
from reactor.graph import Column, Memory
from reactor.operators.body import Body, Fused

Rest = Callable[[], None]

_LETTERS: tuple[tuple[str, Column], ...] = (("o", "origin"), ("t", "time"), ("w", "watermark"))


def _together(held: str, letter: str) -> str:
    """What a column of several events is for the list that they become: all origins, the latest time, the
    first watermark."""
    return {"o": f"tuple({held}_o)", "t": f"max({held}_t)", "w": f"{held}_w[0]"}[letter]


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Fused):
    """Lists of up to ``max_size`` events, or of up to ``max_weight`` by ``weight``."""

    max_size: int | None = None
    max_weight: float | None = None
    weight: Callable[[Any], float] | None = None
    on_error: OnError = Fail()
    verb = "batch"
    tailed = True

    @property
    def nests(self) -> bool:
        return self.weight is not None

    @property
    def memory(self) -> Memory:
        return "holding"

    @property
    def at_end(self) -> bool:
        return True

    def describe(self) -> str:
        return f"batch({self.max_size if self.max_size is not None else self.max_weight})"

    def write(self, body: Body, rest: Rest) -> None:
        held = f"held{body.op}"
        body.keep(held, [])
        for letter, _ in self._columns(body):
            body.keep(f"{held}_{letter}", [])
        if self.weight is None:
            self._append(body, held)
            body.add(f"if len({held}) < {self.max_size}: {body.exit}")
            self._release(body, held, rest)
            return
        total, ready = f"total{body.op}", body.fresh("ready")
        body.keep(total, 0)
        weight = body.guard(f"{body.function(self.weight, self.verb)}({body.value})")
        letters = self._columns(body)
        cut = f"{ready}.append(({held}, {', '.join(_together(held, letter) for letter, _ in letters)}))"
        clear = f"{held} = []; {total} = 0" + "".join(f"; {held}_{letter} = []" for letter, _ in letters)
        body.add(f"{ready} = []")
        with body.block(f"if {held} and {total} + {weight} > {self.max_weight!r}:"):
            body.add(f"{cut}; {clear}")
        self._append(body, held)
        body.add(f"{total} += {weight}")
        size = f" or len({held}) >= {self.max_size}" if self.max_size is not None else ""
        with body.block(f"if {total} >= {self.max_weight!r}{size}:"):
            body.add(f"{cut}; {clear}")
        full = body.fresh()
        names = "".join(f", {full}_{letter}" for letter, _ in letters)
        with body.block(f"for {full}{names or ','} in {ready}:"):
            body.value = full
            body.forget_highest()
            for letter, column in letters:
                body.columns[column] = f"{full}_{letter}"
            with body.turn():
                rest()

    def write_end(self, body: Body, rest: Rest) -> None:
        held = f"held{body.op}"
        # a loop of one turn, for the operators further down that say continue
        with body.block(f"for _ in ((0,) if {held} else ()):"), body.turn():
            self._release(body, held, rest)

    def write_tail(self, body: Body, rest: Rest) -> None:
        """The watermark doesn't overtake what is held."""
        if f"held{body.op}_w" not in body.states:
            return
        held, now = f"held{body.op}", body.fresh("w")
        body.forget_highest()
        body.add(f"{now} = {held}_w[0] if {held} else {body.columns['watermark']}")
        body.columns["watermark"] = now

    def _columns(self, body: Body) -> list[tuple[str, Column]]:
        return [(letter, column) for letter, column in _LETTERS if column in body.columns]

    def _append(self, body: Body, held: str) -> None:
        body.add(f"{held}.append({body.value})")
        for letter, column in self._columns(body):
            body.add(f"{held}_{letter}.append({body.columns[column]})")

    def _release(self, body: Body, held: str, rest: Rest) -> None:
        full = body.fresh()
        body.add(f"{full} = {held}; {held} = []")
        body.forget_highest()
        for letter, column in self._columns(body):
            body.add(f"{full}_{letter} = {_together(held, letter)}; {held}_{letter} = []")
            body.columns[column] = f"{full}_{letter}"
        body.value = full
        rest()
