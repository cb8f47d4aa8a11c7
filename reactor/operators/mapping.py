"""One event in, one or none or several out: map, filter, flat_map, starmap, tap, of_type, pairwise, enumerate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from reactor.delivery import Fail, OnError
from reactor.graph import name_of
from reactor.operators.body import Body, Fused, Remembering

Rest = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Calls(Fused):
    """Calls a sync function of the user for each event; ``on_error`` says what a failure means."""

    fn: Callable[..., Any]
    on_error: OnError = Fail()

    def describe(self) -> str:
        return f"{self.verb}({name_of(self.fn)})"


class Map(Calls):
    verb = "map"

    def write(self, body: Body, rest: Rest) -> None:
        body.value = body.guard(f"{body.function(self.fn, self.verb)}({body.value})")
        rest()


class StarMap(Calls):
    verb = "starmap"

    def write(self, body: Body, rest: Rest) -> None:
        body.value = body.guard(f"{body.function(self.fn, self.verb)}(*{body.value})")
        rest()


class Filter(Calls):
    verb = "filter"

    def write(self, body: Body, rest: Rest) -> None:
        body.test(f"{body.function(self.fn, self.verb)}({body.value})")
        rest()


class Tap(Calls):
    verb = "tap"

    def write(self, body: Body, rest: Rest) -> None:
        body.effect(f"{body.function(self.fn, self.verb)}({body.value})")
        rest()


class FlatMap(Calls):
    """Emits every item of the iterable that the function returns; an endless one is read bit by bit."""

    verb = "flat_map"

    @property
    def nests(self) -> bool:
        return True

    def write(self, body: Body, rest: Rest) -> None:
        self.write_items(body, rest, f"{body.function(self.fn, self.verb)}({body.value})")

    def write_items(self, body: Body, rest: Rest, call: str) -> None:
        """Write what emits the items of the iterable that ``call`` gives."""
        iterator, ended = body.const(_iterator, "iterator"), body.const(_ENDED, "ENDED")
        given, items, item = body.value, body.fresh("items"), body.fresh()
        fallen = body.fresh("fallen")
        if body.resumes:
            body.add(f"{fallen} = False")
            body.add("try:")
            body.add(f"    {items} = {iterator}({call})")
            body.add("except Exception as error:")
            self._fall(body, given, items, fallen, iterator)
        else:
            body.add(f"{items} = {iterator}({call})")
        body.add("while True:")
        body.depth += 1
        body.add("try:")
        body.add(f"    {item} = next({items}, {ended})")
        body.add("except Exception as error:")
        if body.resumes:  # what was emitted stays, and the fallback's items follow
            body.add(f"    if {fallen}: raise Abort({body.op}, {given}, error) from None")
            self._fall(body, given, items, fallen, iterator)
            body.add("    continue")
        else:
            body.add(f"    fail{body.op}({given}, {body.origin}, error)")
            body.add("    break")
        body.add(f"if {item} is {ended}: break")
        body.add("room -= 1")
        with body.block("if not room:"):
            body.add("PAUSE")
        body.value = item
        with body.turn():
            rest()
        body.depth -= 1

    def _fall(self, body: Body, given: str, items: str, fallen: str, iterator: str) -> None:
        body.add(f"    {items} = fail{body.op}({given}, {body.origin}, error)")
        body.add(f"    {fallen} = True")
        body.add(f"    try: {items} = {iterator}({items})")
        body.add(f"    except Exception as second: raise Abort({body.op}, {given}, second) from None")


class Items(FlatMap):
    """Emits every item of the iterable in a pair of event and iterable, which a pool has called for."""

    def describe(self) -> str:
        return f"items of flat_map({name_of(self.fn)})"

    def write(self, body: Body, rest: Rest) -> None:
        event, items = body.fresh(), body.fresh()
        body.add(f"{event}, {items} = {body.value}")
        body.value = event
        body.enter()
        self.write_items(body, rest, items)


class _Ended(Enum):
    """A member of an enum is itself also when it comes back from a checkpoint."""

    ENDED = 0


_ENDED = _Ended.ENDED


def _iterator(items: Any) -> Any:
    if isinstance(items, str | bytes):
        raise TypeError("flat_map: the function returned a str or bytes; wrap it in a list to emit it whole")
    if inspect.iscoroutine(items):
        items.close()
        raise TypeError(
            "flat_map: a sync function returned an awaitable; pass concurrency= to have it awaited"
        )
    if hasattr(items, "__aiter__") and not hasattr(items, "__iter__"):
        raise TypeError(
            "flat_map: the function returned an async iterable; pass concurrency= to have it read"
        )
    return iter(items)


@dataclass(frozen=True, slots=True, eq=False)
class OfType(Fused):
    """Keeps the events that are instances of ``types``."""

    types: tuple[type, ...]
    verb = "of_type"

    def describe(self) -> str:
        return f"of_type({', '.join(t.__name__ for t in self.types)})"

    def write(self, body: Body, rest: Rest) -> None:
        body.add(f"if not isinstance({body.value}, {body.const(self.types)}): {body.exit}")
        rest()


@dataclass(frozen=True, slots=True, eq=False)
class Enumerate(Remembering, Fused):
    """Pairs each event with its number."""

    start: int = 0
    is_volatile: bool = False
    verb = "enumerate"

    def write(self, body: Body, rest: Rest) -> None:
        number, pair = body.state(self.start), body.fresh()
        body.rebound.append(number)
        body.add(f"{pair} = ({number}, {body.value})")
        body.add(f"{number} += 1")
        body.value = pair
        rest()


@dataclass(frozen=True, slots=True, eq=False)
class Pairwise(Remembering, Fused):
    """Pairs each event with the one before it."""

    is_volatile: bool = False
    verb = "pairwise"

    def write(self, body: Body, rest: Rest) -> None:
        before, nothing, pair = body.state(_ENDED), body.const(_ENDED, "NOTHING"), body.fresh()
        body.rebound.append(before)
        body.add(f"if {before} is {nothing}:")
        body.add(f"    {before} = {body.value}")
        body.add(f"    {body.exit}")
        body.add(f"{pair} = ({before}, {body.value})")
        body.add(f"{before} = {body.value}")
        body.value = pair
        rest()


@dataclass(frozen=True, slots=True, eq=False)
class Scan(Remembering, Fused):
    """Folds as it goes, and emits each state; with ``key`` a state of its own for each key."""

    fn: Callable[[Any, Any], Any]
    factory: Callable[[], Any]
    key: Callable[[Any], Any] | None = None
    is_volatile: bool = False
    on_error: OnError = Fail()
    emits_first: bool = False
    verb = "scan"

    @property
    def layout(self) -> str:
        return "" if self.key is None else "keyed"

    def describe(self) -> str:
        return f"{'reduce' if self.emits_first else 'scan'}({name_of(self.fn)})"

    def write(self, body: Body, rest: Rest) -> None:
        fn = body.function(self.fn, self.verb)
        if self.key is None:
            state = body.state(_ENDED if self.emits_first else self.factory())
            body.rebound.append(state)
            if self.emits_first:
                new = body.fresh()
                with body.block(f"if {state} is {body.const(_ENDED, 'NOTHING')}:"):
                    body.add(f"{new} = {body.value}")
                with body.block("else:"):
                    body.add(f"{new} = {body.guard(f'{fn}({state}, {body.value})')}")
            else:
                new = body.guard(f"{fn}({state}, {body.value})")
            body.add(f"{state} = {new}")
            body.value = new
            rest()
            return
        states = body.state({})
        key = body.guard(f"{body.function(self.key, 'key_by')}({body.value})")
        old, new, pair = body.fresh(), body.fresh(), body.fresh()
        nothing = body.const(_ENDED, "NOTHING")
        body.add(f"{old} = {states}.get({key}, {nothing})")
        if self.emits_first:
            with body.block(f"if {old} is {nothing}:"):
                body.add(f"{new} = {body.value}")
            with body.block("else:"):
                body.add(f"{new} = {body.guard(f'{fn}({old}, {body.value})')}")
        else:
            body.add(f"if {old} is {nothing}: {old} = {body.const(self.factory, 'factory')}()")
            body.add(f"{new} = {body.guard(f'{fn}({old}, {body.value})')}")
        body.add(f"{states}[{key}] = {new}")
        body.note(key)
        body.add(f"{pair} = ({key}, {new})")
        body.value = pair
        rest()
