"""What flows through every channel of a run, held against the protocol: events as there is room, then one end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reactor.engine import channel as channels
from reactor.engine.elements import Chunk, End


class Protocol:
    """What was seen in the channels while it watched."""

    def __init__(self) -> None:
        self.events = 0
        self.ends = 0
        self.over_room: list[str] = []
        """Where a channel was given more events than it had room for."""
        self.after_the_end: list[str] = []
        """What came into a channel behind its end."""


@contextmanager
def watching() -> Iterator[Protocol]:
    """Watch every channel as long as the block lasts."""
    seen, ended = Protocol(), set[int]()
    kept: list[Any] = []  # so that no id is used twice
    push = channels.Channel.push

    def watched(self: channels.Channel, item: Any) -> None:
        if not self.left:
            where = f"{self.source} -> {self.target}: {item!r}"
            if id(self) in ended:
                seen.after_the_end.append(where)
            push(self, item)
            if type(item) is Chunk:
                seen.events += len(item.values)
                if self.size > self.capacity:
                    seen.over_room.append(where)
            elif type(item) is End:
                seen.ends += 1
                ended.add(id(self))
                kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels.Channel, "push", watched)
        yield seen
