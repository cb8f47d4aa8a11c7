"""Several events become one: batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactor.graph import Memory
from reactor.operators.body import Body, Fused

Rest = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Fused):
    """Lists of up to ``max_size`` events, or of up to ``max_weight`` by ``weight``."""

    max_size: int | None = None
    max_weight: float | None = None
    weight: Callable[[Any], float] | None = None
    verb = "batch"

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
        origin = body.columns.get("origin")
        if origin:
            body.keep(f"{held}_o", [])
        if self.weight is None:
            self._append(body, held, origin)
            body.add(f"if len({held}) < {self.max_size}: {body.exit}")
            self._release(body, held, rest)
            return
        total, ready = f"total{body.op}", body.fresh("ready")
        body.keep(total, 0)
        weight = body.guard(f"{body.function(self.weight, self.verb)}({body.value})")
        cut = f"{ready}.append(({held}, {f'tuple({held}_o)' if origin else None}))"
        clear = f"{held} = []; {total} = 0" + (f"; {held}_o = []" if origin else "")
        body.add(f"{ready} = []")
        with body.block(f"if {held} and {total} + {weight} > {self.max_weight!r}:"):
            body.add(f"{cut}; {clear}")
        self._append(body, held, origin)
        body.add(f"{total} += {weight}")
        size = f" or len({held}) >= {self.max_size}" if self.max_size is not None else ""
        with body.block(f"if {total} >= {self.max_weight!r}{size}:"):
            body.add(f"{cut}; {clear}")
        full = body.fresh()
        with body.block(f"for {full}, {full}_o in {ready}:"):
            body.value = full
            if origin:
                body.columns["origin"] = f"{full}_o"
            with body.turn():
                rest()

    def write_end(self, body: Body, rest: Rest) -> None:
        held = f"held{body.op}"
        # a loop of one turn, for the operators further down that say continue
        with body.block(f"for _ in ((0,) if {held} else ()):"), body.turn():
            self._release(body, held, rest)

    def _append(self, body: Body, held: str, origin: str | None) -> None:
        body.add(f"{held}.append({body.value})")
        if origin:
            body.add(f"{held}_o.append({origin})")

    def _release(self, body: Body, held: str, rest: Rest) -> None:
        full = body.fresh()
        body.add(f"{full} = {held}; {held} = []")
        if "origin" in body.columns:
            body.add(f"{full}_o = tuple({held}_o); {held}_o = []")
            body.columns["origin"] = f"{full}_o"
        body.value = full
        rest()
