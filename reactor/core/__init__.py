"""The words: errors, records, sources and sinks, durations. No machinery."""

from reactor.core.durations import Duration, duration
from reactor.core.errors import (
    ArgumentError,
    Cancelled,
    Closed,
    Deadlock,
    DecodeError,
    DrainTimeout,
    Empty,
    Fault,
    FileError,
    Full,
    GraphError,
    MissingExtra,
    OperatorTimeout,
    Overflow,
    ReactorError,
    TopicCorrupt,
    TopicError,
    TopicFull,
    TopicLocked,
    UsedTwice,
)
from reactor.core.record import Record
from reactor.core.sink import Sink
from reactor.core.source import Source

__all__ = [
    "ArgumentError",
    "Cancelled",
    "Closed",
    "Deadlock",
    "DecodeError",
    "DrainTimeout",
    "Duration",
    "Empty",
    "Fault",
    "FileError",
    "Full",
    "GraphError",
    "MissingExtra",
    "OperatorTimeout",
    "Overflow",
    "ReactorError",
    "Record",
    "Sink",
    "Source",
    "TopicCorrupt",
    "TopicError",
    "TopicFull",
    "TopicLocked",
    "UsedTwice",
    "duration",
]
