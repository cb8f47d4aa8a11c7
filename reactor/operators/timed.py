"""Event time, and what waits for watermarks: event_time, windows, and other kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from reactor.delivery import Fail, OnError
from reactor.graph import Column, Times, name_of
from reactor.operators.body import Abort, Body, Fused, Remembering
from reactor.windows import BEGINNING, END_OF_TIME, Aggregate, Counting, Kernel, Panes, PartTimes, Sum, whole

Rest = Callable[[], None]

_TIMES: frozenset[Column] = frozenset({"time", "watermark"})


@dataclass(frozen=True, slots=True, eq=False)
class EventTime(Fused):
    """Gives each event its time, and the stream its watermark: the highest time seen - ``out_of_order``.

    Over a partitioned source, the highest time of the partition where that is lowest.
    """

    fn: Callable[[Any], Any]
    convert: Callable[[Any], int] | None
    out_of_order: int = 0
    idle: float | None = None
    on_error: OnError = Fail()
    verb = "event_time"
    tailed = True

    @property
    def times(self) -> Times:
        return "makes"

    def describe(self) -> str:
        return f"event_time({name_of(self.fn)})"

    def write(self, body: Body, rest: Rest) -> None:
        highest, before = f"top{body.op}", body.fresh("seen")
        body.keep(highest, BEGINNING)
        call = f"{body.function(self.fn, self.verb)}({body.value})"
        if self.convert is not None:
            call = f"{body.const(self.convert, 'micros')}({call})"
        time = body.guard(call)
        if body.op in body.parted:
            self._part(body, highest)
        body.add(f"{before} = {highest}")
        with body.block(f"if {time} > {highest}:"):
            if self.convert is None:  # a garbage time must not end all windows
                body.add(f"if {time} >= {END_OF_TIME}: {body.const(whole, 'whole')}({time})")
            body.add(f"{highest} = {self._raised(body, time)}")
            body.add(f"RAISED {highest}")  # what windows further on write here
        body.columns["time"] = time
        self._reached(body, before)
        rest()

    def _part(self, body: Body, highest: str) -> None:
        """Find out from which partition the event is. Those of one come one after the other: then all is known."""
        op = body.op
        tops, parts, part, last = f"tops{op}", f"parts{op}", f"part{op}", f"part{op}_"
        body.states[tops], body.states[parts] = {}, PartTimes()
        told = f"{highest} = {parts}.are({tops}, chunk.parts, {highest})"
        body.keep(last, None)
        body.prologue.append(f"{last} = None")
        body.prologue.append(f"if type(chunk) is Watermark and chunk.parts is not None: {told}")
        body.add(f"{part} = {body.origin}.part")
        body.add(f"if {part} is not {last}: {last} = {part}; {parts}.gives({part})")

    def _raised(self, body: Body, time: str) -> str:
        """What the highest time becomes, by an event that has a higher one."""
        op = body.op
        return f"parts{op}.saw(tops{op}, part{op}, {time}, top{op})" if op in body.parted else time

    def _reached(self, body: Body, highest: str) -> None:
        """Most events only ask whether the watermark has come so far: they compare the highest time itself."""
        body.columns["highest"] = highest
        body.columns["highest_of"] = str(body.op)
        body.columns["behind"] = str(self.out_of_order)
        body.columns["watermark"] = f"({highest} - {self.out_of_order})" if self.out_of_order else highest

    def write_tail(self, body: Body, rest: Rest) -> None:
        self._reached(body, f"top{body.op}")

    def write_tick(self, body: Body, rest: Rest, now: str) -> None:
        body.add(f"top{body.op} += {now}")  # so much time has passed since events came

    @property
    def ticks(self) -> bool:
        """True where the clock counts: when no events come."""
        return self.idle is not None


@dataclass(frozen=True, slots=True, eq=False)
class Timed(Remembering, Fused):
    """An operator whose kernel holds events back until a watermark, or the clock, has come so far.

    ``kernel`` makes the state of one run. Output 1 has the late events; it may be left unused.
    """

    kernel: Callable[[], Kernel]
    what: str
    key: Callable[[Any], Any] | None = None
    on_error: OnError = Fail()
    is_volatile: bool = False
    clock: bool = False
    """True where the clock says what time it is, instead of the events."""
    ticks: bool = False
    """True where the clock may make something due."""
    paired: bool = False
    """True where the kernel gives pairs of result and event time."""
    timeless: bool = False
    """True where it needs no times: count windows."""
    outputs: int = 2
    optional = 1
    verb = "window"
    tailed = True

    @property
    def nests(self) -> bool:
        return True

    @property
    def times(self) -> Times:
        if self.clock:
            return "makes"
        return "takes" if self.timeless else "needs"

    def describe(self) -> str:
        return self.what

    @property
    def layout(self) -> str:
        return self.kernel().layout

    @property
    def needs(self) -> frozenset[Column]:
        found: frozenset[Column] = frozenset({"origin"}) if self.buries else frozenset()
        return found if self.timeless else found | _TIMES

    @property
    def at_end(self) -> bool:
        return True

    def write(self, body: Body, rest: Rest) -> None:
        kernel = self.kernel()
        name = f"k{body.op}"
        body.states[name] = kernel
        if body.saves:
            kernel.track()
        w, t = self._times(body)
        body.keep(f"due{body.op}", kernel.due + int(body.columns.get("behind", 0)))
        if body.passes:
            body.keep(f"pw{body.op}", BEGINNING)
        event, columns = body.value, dict(body.columns)
        if not self.timeless and not self._lazy(body, kernel):
            self._fire(body, rest, w)
            body.value, body.columns = event, dict(columns)
            if body.passes:
                body.add(f"pw{body.op} = {w}")
        key = "None"
        if self.key is not None:
            key = body.guard(f"{body.function(self.key, 'key_by')}({event})")
        if self._has_panes(kernel):
            self._into_pane(body, rest, kernel.aggregate, key, t, w)  # type: ignore[attr-defined]
        else:
            found = body.guard(f"{name}.add({key}, {event}, {t}, {w})")
            self._now(body, rest, found, w)

    def _has_panes(self, kernel: Kernel) -> bool:
        """True where the event's state is changed in the loop itself; what fails there ends the run."""
        return isinstance(kernel, Panes) and isinstance(self.on_error, Fail)

    def _lazy(self, body: Body, kernel: Kernel) -> bool:
        """True where a window that is due shuts the panes at hand, so that only who finds none has to look."""
        return self._has_panes(kernel) and "highest" in body.columns

    def _times(self, body: Body) -> tuple[str, str]:
        return body.columns.get("watermark", str(BEGINNING)), body.columns.get("time", str(BEGINNING))

    def _into_pane(
        self, body: Body, rest: Rest, aggregate: Aggregate[Any, Any], key: str, t: str, w: str
    ) -> None:
        """The hot path: one look at the bounds of the last pane, one addition."""
        op, name, event = body.op, f"k{body.op}", body.value
        lo, hi, pane = f"lo{op}", f"hi{op}", f"pane{op}"
        before = f"lo{op}_", f"hi{op}_", f"pane{op}_"
        for variable in (lo, hi, before[0], before[1]):
            body.keep(variable, 0)
        body.keep(pane, None)
        body.keep(before[2], None)
        if type(aggregate) is Counting:
            add = f"{pane}[{key}] = {pane}.get({key}, 0) + 1"
        elif type(aggregate) is Sum:
            value = event
            if aggregate.fn is not None:
                value = body.guard(f"{body.function(aggregate.fn, 'sum')}({event})")
            if body.saves:  # what += would change in its place (an array), no checkpoint would see
                add = f"{pane}[{key}] = {pane}.get({key}, 0) + {value}"
            else:
                state = body.fresh("state")
                add = f"{state} = {pane}.get({key}, 0); {state} += {value}; {pane}[{key}] = {state}"
        else:
            adding, zero = body.const(aggregate.add, "add"), body.const(aggregate.zero, "zero")
            before_it = f"{pane}[{key}] if {key} in {pane} else {zero}()"
            add = f"{pane}[{key}] = {adding}({before_it}, {event})"
        columns = dict(body.columns)
        highest = f"top{columns['highest_of']}" if "highest_of" in columns else ""
        lazy = self._lazy(body, body.states[name])
        if lazy:
            body.raised.setdefault(highest, []).append(f"if {highest} >= due{op}: {_shut(op)}")
        # Events near a window's border go to and fro between two panes: both are at hand.
        both = f"{lo}, {hi}, {pane}", ", ".join(before)
        with body.block(f"if {lo} <= {t} < {hi}:"):
            body.add("pass")
        with body.block(f"elif {before[0]} <= {t} < {before[1]}:"):
            body.add(f"{both[0]}, {both[1]} = {both[1]}, {both[0]}")
        with body.block("else:"):
            if lazy:
                self._fire(body, rest, w)
                body.value, body.columns = event, dict(columns)
            body.add(f"{both[1]} = {both[0]}")
            body.add(f"{pane} = {name}.pane({t}, {w})")
            body.add(f"{lo} = {name}.lo; {hi} = {name}.hi; {self._due(body)}")
            if lazy:
                body.add(f"if {highest} >= due{op}: {_shut(op)}")
            with body.block(f"if {pane} is None:"):
                found = body.fresh("late")
                body.add(f"{found} = {name}.add({key}, {event}, {t}, {w})")
                self._now(body, rest, found, w)
                body.value, body.columns = event, dict(columns)
                body.add(body.exit)
        body.add(add)
        if body.saves and aggregate.functional:
            noting = f"noting{op}"
            body.prologue.append(f"{noting} = {name}.noting")
            body.states[f"changed{op}"] = body.states[name].changed
            body.add(f"if {noting}: changed{op}[{lo}, {key}] = None")
        elif body.saves:
            body.states[f"changed{op}"] = body.states[name].changed
            body.add(f"changed{op}[{lo}, {key}] = None")

    def _now(self, body: Body, rest: Rest, found: str, w: str) -> None:
        """What an event leads to at once: results, or nothing, or the word that it is late."""
        body.add(self._due(body))
        if body.emits_late:
            with body.block(f"if {found} is None:"):
                body.emit(1)
                body.add(body.exit)
        result = body.fresh("result_")
        with body.block(f"for {self._names(result)} in {found} or ():"):
            self._emit(body, rest, result, w)

    def _fire(self, body: Body, rest: Rest, w: str) -> None:
        op, name = body.op, f"k{body.op}"
        firing = body.const(_firing(op), "fire")
        due, ending = self._due(body), w == str(END_OF_TIME)
        # due is kept so that the highest time can be compared with it
        reached = f"{w} >= {name}.due" if ending else f"{body.columns.get('highest', w)} >= due{op}"
        with body.block(f"if {reached}:"):
            result = body.fresh("result_")
            with body.block(f"for {self._names(result)} in {firing}({name}, {w}):"):
                self._emit(body, rest, result, f"pw{op}")
            body.add(due)
            if self._has_panes(body.states[name]):
                body.add(_shut(op))

    def _due(self, body: Body) -> str:
        behind = body.columns.get("behind", "0")
        return f"due{body.op} = k{body.op}.due" + (f" + {behind}" if behind != "0" else "")

    def _names(self, result: str) -> str:
        return f"{result}, {result}_t" if self.paired else result

    def _emit(self, body: Body, rest: Rest, result: str, w: str) -> None:
        body.add("room -= 1")
        with body.block("if not room:"):
            body.add("PAUSE")
        body.value = result
        body.columns.pop("origin", None)
        body.forget_highest()
        if body.passes:
            if not self.paired:
                body.add(f"{result}_t = {result}.time")
            body.columns["time"] = f"{result}_t"
            body.columns["watermark"] = w
        else:  # those of the event are not the result's
            body.columns.pop("time", None)
            body.columns.pop("watermark", None)
        with body.turn():
            rest()

    def write_tail(self, body: Body, rest: Rest) -> None:
        if self.timeless:
            body.forget_highest()  # as for its results: who comes next compares the watermark itself
            return
        w = body.columns["watermark"]
        columns = dict(body.columns)
        self._fire(body, rest, w)
        body.columns = columns
        body.forget_highest()
        if body.passes:
            body.add(f"pw{body.op} = {w}")

    def write_tick(self, body: Body, rest: Rest, now: str) -> None:
        """Write what the clock makes due."""
        name = f"k{body.op}"
        result = body.fresh("result_")
        columns, due = dict(body.columns), self._due(body)
        ticking = body.const(_ticking(body.op), "tick")
        with body.block(f"for {self._names(result)} in {ticking}({name}, {now}):"):
            self._emit(body, rest, result, body.columns.get("watermark", str(BEGINNING)))
        body.add(due)
        body.columns = columns

    def write_end(self, body: Body, rest: Rest) -> None:
        self._fire(body, rest, str(END_OF_TIME))


@dataclass(frozen=True, slots=True, eq=False)
class Tag(Fused):
    """Makes triples of side, key and event, for a join."""

    side: int
    key: Callable[[Any], Any]
    on_error: OnError = Fail()
    verb = "key_by"

    def describe(self) -> str:
        return f"key_by({name_of(self.key)})"

    def write(self, body: Body, rest: Rest) -> None:
        key = body.guard(f"{body.function(self.key, self.verb)}({body.value})")
        tagged = body.fresh()
        body.add(f"hash({key})")  # what can't be hashed fails here, while the event is at hand
        body.add(f"{tagged} = ({self.side}, {key}, {body.value})")
        body.value = tagged
        rest()


def _shut(op: int) -> str:
    """No time is in the panes at hand any more; where that of the present event begins is still to be noted."""
    return f"hi{op} = hi{op}_ = {BEGINNING}"


def _firing(op: int) -> Callable[[Kernel, int], Iterator[Any]]:
    def fire(kernel: Kernel, watermark: int) -> Iterator[Any]:
        try:
            yield from kernel.fire(watermark)
        except Exception as error:
            raise Abort(op, kernel, error) from None

    return fire


def _ticking(op: int) -> Callable[[Kernel, int], Iterator[Any]]:
    def tick(kernel: Kernel, now: int) -> Iterator[Any]:
        try:
            yield from kernel.tick(now)
        except Exception as error:
            raise Abort(op, kernel, error) from None

    return tick
