"""process() for the reference interpreter: the user's objects, and their timers in a list."""

from __future__ import annotations

from typing import Any, cast

from reactor.graph import Node
from reactor.testing.failing import Calls, Failed
from reactor.testing.outcome import Failure, Undetermined
from reactor.testing.rows import Row
from reactor.windows import BEGINNING, END_OF_TIME, Context, Handlers, Process


class _Objects:
    """What a Context talks to."""

    def __init__(self, calls: Calls, node: Node, settings: Handlers) -> None:
        self.calls, self.node, self.settings = calls, node, settings
        self.objects: dict[Any, Process[Any, Any, Any]] = {}
        self.dies: dict[Any, int] = {}
        self.timers: list[tuple[int, int, Any]] = []
        self.number = 0
        self.forgetting = False
        self.out: list[Row] = []

    def set_timer(self, key: Any, time: int) -> None:
        if not any((time, key) == (at, whose) for at, _, whose in self.timers):
            self.number += 1
            self.timers.append((time, self.number, key))

    def set_alarm(self, key: Any, after: int) -> None:
        raise Undetermined(f"{self.calls.labels[self.node]}: it looks at the clock")

    def forget(self, key: Any) -> None:
        self.objects.pop(key, None)
        self.dies.pop(key, None)
        self.timers = [timer for timer in self.timers if timer[2] != key]

    def call(self, name: str, key: Any, time: int, watermark: int, mark: int, *given: Any) -> None:
        """Call a method of the key's object; what it gives has ``mark`` as its watermark."""
        context: Context[Any] = Context(cast("Handlers", self))
        context.key, context.time, context.watermark = key, time, watermark
        method = getattr(self.objects[key], name)
        event = given[0] if given else None
        found = self.calls.guard(self.node, event, lambda: list(method(*given, context) or ()))
        self.out += [Row(result, time, mark) for result in found]
        if self.forgetting:
            self.forgetting = False
            self.forget(key)

    def advance(self, watermark: int, mark: int) -> None:
        """Fire all timers up to the watermark, in the order of time."""
        while self.timers and min(self.timers)[0] <= watermark:
            timer = min(self.timers)
            self.timers.remove(timer)
            time, _, key = timer
            if self.dies.get(key, time + 1) <= time:
                self.forget(key)
            elif key in self.objects:
                self.call("timer", key, time, watermark, min(time, mark), time)


def processed(
    calls: Calls, node: Node, settings: Handlers, keyed: list[tuple[Any, Row]], failure: Failure | None
) -> tuple[list[list[Row]], list[list[Row]], Failure | None]:
    """What the objects give for the events, and at the end."""
    it = _Objects(calls, node, settings)
    mark = latest = BEGINNING
    try:
        for key, row in keyed:
            it.advance(row.watermark, mark)
            mark, latest = row.watermark, max(latest, row.time)
            if it.dies.get(key, row.watermark + 1) <= row.watermark:
                it.forget(key)
            if key not in it.objects:
                it.objects[key] = settings.factory()
            if settings.ttl is not None:
                dies = max(row.time, row.watermark) + settings.ttl
                it.dies[key] = max(dies, it.dies.get(key, dies))
            it.call("event", key, row.time, row.watermark, row.watermark, row.event)
        if failure is None:
            it.advance(END_OF_TIME, mark)
            for key in list(it.objects):
                if it.dies.get(key, mark + 1) > mark:
                    it.call("end", key, max(latest, mark), END_OF_TIME, mark)
    except Failed as failed:
        failure = failed.failure
    return [it.out], [[]], failure
