"""Every error that reactor raises, in one tree.

ReactorError
 ├── ArgumentError (ValueError)        a call was made with an argument that can't work
 ├── GraphError                        the checks of a pipeline found faults; all of them at once
 ├── UsedTwice                         a one-shot iterator was run a second time
 ├── Closed                            an inlet or channel was used after its end
 ├── Full                              there was no room, and the caller did not want to wait
 ├── Empty (LookupError)               a stream without events was asked for its first or last
 ├── Overflow                          a buffer with ``overflow="error"`` was full
 ├── OperatorTimeout (TimeoutError)    one attempt of a function took longer than its ``timeout``
 ├── Deadlock                          all stages of a run wait for each other
 ├── StrayCancellation                 a cancellation came out of a function, and nobody had asked for one
 ├── ProcessDied                       the process that ran a function ended before it had a result
 ├── Cancelled                         the run was cancelled before its end
 ├── DrainTimeout                      the drain's deadline passed with events still in flight
 ├── FileError (OSError)               a file can't be opened, read or written
 ├── DecodeError                       bytes do not fit the type that was asked for
 ├── MissingExtra (ImportError)        an optional dependency isn't installed
 └── TopicError                        a broker refused or failed
      ├── TopicLocked                  another process holds the log's lock for too long
      ├── TopicCorrupt                 the log is damaged
      └── TopicFull                    no room is left on the disk
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class ReactorError(Exception):
    """The root of all errors of reactor."""


class ArgumentError(ReactorError, ValueError):
    """An argument can't work: the message names the call, the argument and the fix."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a graph: where, what, and how to mend it."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}"


class GraphError(ReactorError):
    """The graph can't run. ``faults`` holds every fault that was found, not only the first."""

    def __init__(self, graph: str, faults: Iterable[Fault]) -> None:
        self.graph = graph
        self.faults = tuple(faults)
        lines = [f"{graph}: {len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"]
        lines += [f"  {n}. {fault}" for n, fault in enumerate(self.faults, 1)]
        super().__init__("\n".join(lines))


class UsedTwice(ReactorError):
    """A one-shot iterator is the source of a stream that is run for the second time."""


class Closed(ReactorError):
    """The other side has ended or failed; ``__cause__`` is its failure where there was one."""


class Full(ReactorError):
    """There is no room now: try later, or use the call that waits."""


class Empty(ReactorError, LookupError):
    """The stream ended without an event, and no default was given."""


class Overflow(ReactorError):
    """A buffer that may not drop and may not wait was full."""


class OperatorTimeout(ReactorError, TimeoutError):
    """One attempt took longer than ``timeout=``."""


class Deadlock(ReactorError):
    """All stages wait for each other; the message names the cycle."""


class StrayCancellation(ReactorError):
    """A function, source or sink let a cancellation through that was not meant for the run.

    What it awaited was cancelled by somebody else. ``__cause__`` is what came out of it.
    """


class ProcessDied(ReactorError):
    """The process that ran a function (``processes=``) ended before it had a result."""


class Cancelled(ReactorError):
    """The run was cancelled; ``in_flight`` events had been read and had not reached a sink."""

    def __init__(self, message: str, in_flight: int = 0) -> None:
        super().__init__(message)
        self.in_flight = in_flight


class DrainTimeout(Cancelled):
    """The drain's deadline passed; the run was cancelled with ``in_flight`` events abandoned."""


class FileError(ReactorError, OSError):
    """A file can't be opened, read or written; the message names the file and the fix."""


class DecodeError(ReactorError, ValueError):
    """Bytes do not fit the type asked for; the message has the path (``$.lines[2].price``)."""


class MissingExtra(ReactorError, ImportError):
    """An optional dependency is missing; the message has the line that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an extra: pip install "reactor-streams[{extra}]"')
        self.extra = extra


class TopicError(ReactorError):
    """A broker refused or failed; nothing that it did not store was acknowledged."""


class TopicLocked(TopicError):
    """Another process holds the lock of the log for longer than the patience allowed."""


class TopicCorrupt(TopicError):
    """The log is damaged; the message says where."""


class TopicFull(TopicError):
    """The disk, or the log's size limit, is full."""
