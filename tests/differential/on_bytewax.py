"""Windows of Bytewax over a list of events, in event time alone: its clock stands still."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bytewax.operators as op
    import bytewax.operators.windowing as win
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Happened(NamedTuple):
    """An event: when (seconds since the epoch), of which key, and a number of its own."""

    time: int
    key: str
    number: int


class Result(NamedTuple):
    """A window of a key with the numbers of its events; start and end in seconds."""

    key: str
    start: float
    end: float
    numbers: tuple[int, ...]


class Found(NamedTuple):
    """All windows, and the numbers of the late events."""

    windows: list[Result]
    late: list[int]


def tumbling(size: float, offset: float = 0) -> Any:
    return win.TumblingWindower(length=timedelta(seconds=size), align_to=EPOCH + timedelta(seconds=offset))


def sliding(size: float, every: float, offset: float = 0) -> Any:
    return win.SlidingWindower(
        length=timedelta(seconds=size),
        offset=timedelta(seconds=every),
        align_to=EPOCH + timedelta(seconds=offset),
    )


def session(gap: float) -> Any:
    return win.SessionWindower(gap=timedelta(seconds=gap))


def standing(out_of_order: float) -> Any:
    """The clock that only events move."""
    return win.EventClock(
        ts_getter=lambda e: EPOCH + timedelta(seconds=e.time),
        wait_for_system_duration=timedelta(seconds=out_of_order),
        now_getter=lambda: EPOCH,
        to_system_utc=lambda _: None,
    )


def on_bytewax(
    events: Sequence[Happened], windower: Any, out_of_order: float, batch: int, gap: float = 0
) -> Found:
    """Collect the events of each window. ``gap``: what to add to the end of a session, which is its last event."""
    clock = standing(out_of_order)
    values: list[Any] = []
    spans: list[Any] = []
    late: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = Dataflow("differential")
        keyed = op.key_on("key", op.input("in", flow, TestingSource(list(events), batch)), lambda e: e.key)
        out = win.collect_window("collect", keyed, clock, windower)
        op.output("values", out.down, TestingSink(values))
        op.output("spans", out.meta, TestingSink(spans))
        op.output("late", out.late, TestingSink(late))
        run_main(flow)
    bounds = {(key, number): meta for key, (number, meta) in spans}
    windows = []
    for key, (number, found) in values:
        meta = bounds[key, number]
        start, end = ((at - EPOCH).total_seconds() for at in (meta.open_time, meta.close_time))
        windows.append(Result(key, start, end + gap, tuple(sorted(e.number for e in found))))
    return Found(sorted(windows), sorted({event.number for _, (_, event) in late}))


def joined_on_bytewax(
    lefts: Sequence[Happened], rights: Sequence[Happened], windower: Any, out_of_order: float, batch: int
) -> list[tuple[str, int | None, int | None]]:
    """Key and numbers of each pair of a window; None where a side has no event."""
    rows: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = Dataflow("differential")
        sides = [
            op.key_on(f"key {name}", op.input(name, flow, TestingSource(list(side), batch)), lambda e: e.key)
            for name, side in (("left", lefts), ("right", rights))
        ]
        out = win.join_window(
            "join", standing(out_of_order), windower, *sides, insert_mode="product", emit_mode="final"
        )
        op.output("rows", out.down, TestingSink(rows))
        run_main(flow)
    return [(key, *(None if e is None else e.number for e in pair)) for key, (_, pair) in rows]
