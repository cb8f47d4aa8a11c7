"""What a reader of lines makes: good records, and those that don't fit, in the file's order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from reactor.connectors.log import Bad, Batch
from reactor.core import Record

NO_HEADERS: dict[str, str] = {}

BYTES = 1 << 20
"""A batch ends before its limit where its lines are this long together."""


class Reader(Protocol):
    """What reads a file; all calls come from one thread."""

    name: str

    def open(self) -> None:
        """Open the file and look at its beginning."""
        ...

    def batch(self, limit: int) -> Batch | None:
        """Return up to ``limit`` records, None at the end; an error comes after all before it was given."""
        ...

    def close(self) -> None:
        """Close the file; also when ``open`` failed."""
        ...


class Fault(NamedTuple):
    """A record that doesn't fit: its line, the bytes, and why."""

    line: int
    raw: bytes
    error: Exception


def assemble(
    path: str,
    values: Sequence[Any],
    lines: Sequence[int],
    raws: Sequence[bytes],
    faults: list[Fault],
    next: int,
) -> Batch:
    """Return the batch; the value of a record that doesn't fit is its text."""
    records: list[Record[Any]] = list(
        map(Record, values, repeat(None), repeat(NO_HEADERS), repeat(None), lines, repeat(path), raws)
    )
    faults.sort(key=lambda fault: fault.line)
    bad: list[Bad] = []
    for line, raw, error in faults:
        record = Record(raw.decode("utf-8", "replace"), position=line, topic=path, raw=raw)
        bad.append(Bad(record, error, bisect_left(lines, line), 0))
    return Batch(records, bad, 0, next)
