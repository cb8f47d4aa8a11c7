"""Every error that reactor raises, in one tree.

ReactorError
 ├── ArgumentError (ValueError)        a call was made with an argument that can't work
 ├── GraphError                        the checks of a pipeline found faults; all of them at once
 ├── UsedTwice                         an iterator was run a second time, a source or sink by two runs at once
 ├── Closed                            an inlet or channel was used after its end
 ├── Full                              there was no room, and the caller did not want to wait
 ├── Empty (LookupError)               a stream without events was asked for its first or last
 ├── Overflow                          a buffer with ``overflow="error"`` was full
 ├── OperatorTimeout (TimeoutError)    one attempt of a function took longer than its ``timeout``
 ├── Deadlock                          all stages of a run wait for each other
 ├── StrayCancellation                 a cancellation came out of a function, and nobody had asked for one
 ├── CircuitOpen                       a circuit breaker is open, and its function or sink wasn't called
 ├── Refused                           a sink names the events of a write that it doesn't take
 ├── ProcessDied                       the process that ran a function ended before it had a result
 ├── Cancelled                         the run was cancelled before its end
 ├── DrainTimeout                      the drain's deadline passed with events still in flight
 ├── FileError (OSError)               a file can't be opened, read or written
 ├── DecodeError (ValueError)          bytes do not fit the type that was asked for
 │    └── ContractError                in reactor.contracts: with name, version and path; one class for each reason
 ├── LetterError                       a dead letter can't be replayed, edited or discarded
 │    └── UnknownLetter (LookupError)  no dead letter has this id
 ├── TooManyDeadLetters                more failed at an operator than DeadLetters(limit=...) allows
 ├── MissingExtra (ImportError)        an optional dependency isn't installed
 ├── StateError                        a checkpoint can't be written, read or restored
 │    ├── Fenced                       another process has taken over the pipeline's checkpoints
 │    ├── Owned                        somebody runs the pipeline whose checkpoints were to be changed
 │    ├── StateMismatch                what was saved doesn't fit the pipeline as it is now
 │    ├── StateLocked                  another process holds the state's lock for too long
 │    ├── StateCorrupt                 the state is damaged
 │    └── StateFull                    no room is left on the disk
 ├── TableError                        a database refused or failed, or an event is no row of its table
 └── TopicError                        a broker refused or failed
      ├── TopicLocked                  another process holds the log's lock for too long
      ├── TopicCorrupt                 the log is damaged
      └── TopicFull                    no room is left on the disk
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """A one-shot iterator is run for the second time; or a source or sink is open in another run already."""


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


class CircuitOpen(ReactorError):
    """The event wasn't handled: the circuit breaker is open. ``__cause__`` is the last failure that it counted."""


class Refused(ReactorError):
    """Raised by a sink's ``write``: these events of it can't be taken, for what they are; the others can.

    ``at`` is the index in the write of the only such event, or several; or a mapping of each index to an error of
    its own. The named events go the way of ``on_error=``, each with its error, after what ``retry=`` says of that.
    The others are written again without them; with ``rest_stored=True`` they aren't, as they are stored.
    """

    def __init__(
        self,
        at: int | Iterable[int] | Mapping[int, Exception],
        error: Exception | None = None,
        *,
        rest_stored: bool = False,
    ) -> None:
        if isinstance(at, Mapping):
            errors = dict(at)
        elif error is None:
            raise ArgumentError("Refused(at): pass error= too, or a mapping of each index to its error")
        else:
            errors = dict.fromkeys([at] if isinstance(at, int) else at, error)
        if not errors:
            raise ArgumentError("Refused(at): names no event; raise the error itself")
        self.errors = errors
        self.rest_stored = rest_stored
        first = min(errors)
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"event {first} of the write{more}: {errors[first]}")
        self.__cause__ = errors[first]


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


class LetterError(ReactorError):
    """What was asked for can't be done with this dead letter; nothing was published or changed."""


class UnknownLetter(LetterError, LookupError):
    """No dead letter has this id, or more than one begins with it."""


class TooManyDeadLetters(ReactorError):
    """More failed at an operator than ``DeadLetters(limit=...)`` allows; all of it is stored.

    ``__cause__`` is the last failure.
    """


class MissingExtra(ReactorError, ImportError):
    """An optional dependency is missing; the message has the line that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an extra: pip install "reactor-streams[{extra}]"')
        self.extra = extra


class StateError(ReactorError):
    """A checkpoint can't be written, read or restored; the last one that was written stands."""


class Fenced(StateError):
    """Another process has taken over: what this one did since its last checkpoint doesn't count."""


class Owned(StateError):
    """Somebody runs the pipeline; its checkpoints can be changed only when nobody does."""


class StateMismatch(StateError):
    """What was saved doesn't fit the pipeline as it is now; the message names what, and the ways out."""


class StateLocked(StateError):
    """Another process holds the lock of the state for longer than the patience allowed."""


class StateCorrupt(StateError):
    """The state is damaged; the message says where."""


class StateFull(StateError):
    """The disk, or the state's size limit, is full."""


class TableError(ReactorError):
    """A database refused or failed, or an event is no row of its table; nothing of the write was stored."""


class TopicError(ReactorError):
    """A broker refused or failed; nothing that it did not store was acknowledged."""


class TopicLocked(TopicError):
    """Another process holds the lock of the log for longer than the patience allowed."""


class TopicCorrupt(TopicError):
    """The log is damaged; the message says where."""


class TopicFull(TopicError):
    """The disk, or the log's size limit, is full."""
