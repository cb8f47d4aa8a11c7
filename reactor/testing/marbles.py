"""Streams drawn as marbles: ``"a-b--(cd)|"`` is an input, and what comes out is compared with another one.

=========  ======================================================================================
``-``      one step of time passes (``dash`` seconds). Nothing else takes time
``a``      an event: any character that has no other meaning
``{ten}``  an event whose name has several characters
``(ab)``   events at the same moment; as ``ab``, which is easy to misread
``[60]``   so many steps of time, as so many dashes
``|``      the end
``#``      a failure
space      nothing: to align one drawing with another
=========  ======================================================================================

Unlike those of RxJS, an event takes no time here, and a group as little: the moment of an event is the number
of dashes before it. A drawing without ``|`` or ``#`` goes on for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import anyio

from reactor.core import ArgumentError, Record, Source
from reactor.stream import Stream
from reactor.testing.clock import virtual_here

T = TypeVar("T")

Names = Mapping[str, T] | Callable[[str], T]
LONG = 10
"""From so many dashes on, a drawing that is made writes their number."""
SPECIAL = "-(){}[]|# "


class MarbleFailure(Exception):
    """What ``#`` stands for, unless told otherwise."""


class Moment(NamedTuple, Generic[T]):
    """What happens at a time (seconds since the beginning): an event, the end, or a failure."""

    time: float
    kind: Literal["event", "end", "failure"]
    value: T | None = None


def timeline(marbles: str, values: Names[T] | None = None, *, dash: float = 1.0) -> list[Moment[T]]:
    """Read a drawing. ``values`` gives each name its event: a mapping, or a function of the name.

    Names that a mapping doesn't have, and all if there is none, stand for themselves, as ``str``.
    """
    if not dash > 0:
        raise ArgumentError(f"timeline(dash={dash}): must be > 0 seconds")
    moments: list[Moment[Any]] = []
    steps, at, group = 0, 0, False
    while at < len(marbles):
        char = marbles[at]
        width = 1
        if moments and moments[-1].kind != "event" and char not in " )":
            raise _wrong(marbles, at, "nothing can follow | or #")
        if char == "-" or char == "[":
            if group:
                raise _wrong(marbles, at, "no time passes inside ( )")
            if char == "[":
                number, width = _enclosed(marbles, at, "]")
                if not number.strip().isdecimal():
                    raise _wrong(marbles, at, "[ ] takes a number of steps")
                steps += int(number)
            else:
                steps += 1
        elif char == "(" or char == ")":
            if group is (char == "("):
                raise _wrong(marbles, at, "( ) doesn't nest and comes in pairs")
            group = char == "("
        elif char == "|" or char == "#":
            moments.append(Moment(_seconds(steps, dash), "end" if char == "|" else "failure"))
        elif char == "}" or char == "]":
            raise _wrong(marbles, at, "nothing was opened")
        elif char != " ":
            name = char
            if char == "{":
                name, width = _enclosed(marbles, at, "}")
            moments.append(Moment(_seconds(steps, dash), "event", _named(name, values)))
        at += width
    if group:
        raise _wrong(marbles, len(marbles), "( isn't closed")
    return moments


def drawn(moments: Iterable[Moment[Any]], values: Names[Any] | None = None, *, dash: float = 1.0) -> str:
    """Draw a timeline; what :func:`timeline` reads, in one form only, so that drawings can be compared.

    Events at one moment stand in ``( )``, the end behind it; ten dashes and more become ``[10]``. An event is
    written as the name that ``values`` (a mapping) has for it, else as ``str`` of it, in ``{ }`` if that is long.
    """
    parts: list[str] = []
    here: list[str] = []
    steps = 0
    for moment in moments:
        step = round(moment.time / dash)
        if abs(step * dash - moment.time) > 1e-6:
            raise ArgumentError(
                f"{moment.value!r} came at {moment.time:g} s, which is between two steps of dash={dash:g}; "
                "pass a smaller dash"
            )
        if step != steps:
            parts += [_together(here), _passing(step - steps)]
            here, steps = [], step
        if moment.kind == "event":
            here.append(_name_of(moment.value, values))
        else:
            parts += [_together(here), "|" if moment.kind == "end" else "#"]
            here = []
    return "".join([*parts, _together(here)])


class Marbles(Source[T], Generic[T]):
    """A source that plays a drawing on the loop's clock; it begins when it is opened, in each run.

    If the pipeline is late, it is given at once all that is due. ``failure`` is raised at ``#``.
    """

    def __init__(
        self,
        marbles: str,
        values: Names[T] | None = None,
        *,
        dash: float = 1.0,
        failure: Exception | None = None,
        name: str = "marbles",
    ) -> None:
        self.name = name
        self.moments = timeline(marbles, values, dash=dash)
        self._failure = failure
        self._began = 0.0
        self._at = 0

    async def open(self) -> None:
        self._began = anyio.current_time()
        self._at = 0

    async def read(self, limit: int) -> Sequence[Record[T]] | None:
        if self._at == len(self.moments):
            await anyio.sleep_forever()
        due = self._began + self.moments[self._at].time
        await anyio.sleep_until(due)
        now = max(due, anyio.current_time())
        records: list[Record[Any]] = []
        for moment in self.moments[self._at : self._at + limit]:
            if self._began + moment.time > now:
                break
            if moment.kind != "event":
                if records:
                    break
                if moment.kind == "end":
                    return None
                raise self._failure or MarbleFailure("#")
            records.append(Record(moment.value))
        self._at += len(records)
        return records


async def marble_of(
    stream: Stream[Any],
    values: Names[Any] | None = None,
    *,
    dash: float = 1.0,
    until: float | None = None,
    capacity: int = 1024,
) -> str:
    """Run a stream, and draw what came out of it, and when.

    ``until`` is how many seconds it may run: what would go on for ever is cut there. On a real clock, moments
    are drawn at the nearest step; on a virtual one they have to be on one.
    """
    began = anyio.current_time()
    moments: list[Moment[Any]] = []

    def note(kind: Literal["event", "end", "failure"], value: Any = None) -> None:
        passed = anyio.current_time() - began
        exact = round(passed, 6) if virtual_here() else round(passed / dash) * dash
        moments.append(Moment(exact, kind, value))

    with anyio.move_on_after(float("inf") if until is None else until):
        try:
            async with stream.open(capacity=capacity) as events:
                async for event in events:
                    note("event", event)
        except Exception:
            note("failure")
        else:
            note("end")
    return drawn(moments, values, dash=dash)


def _seconds(steps: int, dash: float) -> float:
    return round(steps * dash, 9)


def _enclosed(marbles: str, at: int, close: str) -> tuple[str, int]:
    end = marbles.find(close, at)
    if end <= at + 1:
        raise _wrong(marbles, at, f"there is nothing between this and its {close}")
    return marbles[at + 1 : end], end - at + 1


def _named(name: str, values: Names[Any] | None) -> Any:
    if callable(values):
        return values(name)
    return name if values is None else values.get(name, name)


def _name_of(value: Any, values: Names[Any] | None) -> str:
    name = str(value)
    if isinstance(values, Mapping):
        name = next((known for known, event in values.items() if event == value), name)
    return name if len(name) == 1 and name not in SPECIAL else f"{{{name}}}"


def _together(names: list[str]) -> str:
    return f"({''.join(names)})" if len(names) > 1 else "".join(names)


def _passing(steps: int) -> str:
    return "-" * steps if steps < LONG else f"[{steps}]"


def _wrong(marbles: str, at: int, what: str) -> ArgumentError:
    return ArgumentError(f"marbles {marbles!r}, character {at + 1}: {what}")
