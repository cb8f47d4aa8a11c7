"""reactor: an asyncio reactive stream framework.

How the house is laid out:

- ``cli/``         ``python -m reactor``
- ``deadletters/`` dead letters that are listed, repaired, replayed, discarded
- ``stream.py keyed.py pipeline.py topics.py tables.py ...``  what users type: each method adds one node
- ``engine/``      runs a graph on one event loop: plan, fuse, channel, stage, barriers
- ``connectors/``  brokers, files, tables: the embedded broker in a SQLite file, topics in memory
- ``operators/``   the verbs, by family: each an operator and the lines it writes into a loop
- ``graph/``       what to run, as frozen data: nodes, checks, explain
- ``contracts/``   what bytes mean: names and versions of events, upcasters, schemas, CloudEvents
- ``delivery/``    what happens on failure: retry, dead letters
- ``core/``        the words: errors (one tree), records, Source and Sink, durations
- ``testing/``     the reference interpreter

Imports point one way, downwards in this list from what users type to the core; nothing inside imports this file.
"""

from reactor import aggregates, files
from reactor.checkpoints import StoredCheckpoints, checkpoints
from reactor.contracts import event, upcast
from reactor.core import (
    ArgumentError,
    Cancelled,
    CircuitOpen,
    Closed,
    Deadlock,
    DecodeError,
    DrainTimeout,
    Empty,
    Fault,
    Fenced,
    FileError,
    Full,
    GraphError,
    LetterError,
    MissingExtra,
    OperatorTimeout,
    Overflow,
    Owned,
    ProcessDied,
    ReactorError,
    Record,
    Records,
    Refused,
    Sink,
    Source,
    StateCorrupt,
    StateError,
    StateFull,
    StateLocked,
    StateMismatch,
    StrayCancellation,
    TableError,
    TooManyDeadLetters,
    TopicCorrupt,
    TopicError,
    TopicFull,
    TopicLocked,
    UnknownLetter,
    UsedTwice,
)
from reactor.deadletters import KeptLetter, LetterAction, Letters, LetterState, dead_letters
from reactor.delivery import (
    Checkpoint,
    Checkpoints,
    CheckpointStore,
    CircuitBreaker,
    DeadLetter,
    DeadLetters,
    Fail,
    Fallback,
    Limit,
    OnError,
    Restart,
    Retry,
    Savepoint,
    Skip,
    StoredLetter,
    StoredRecord,
)
from reactor.engine import Metrics, NeedsTask, StageMetrics
from reactor.inlet import Inlet
from reactor.keyed import Keyed
from reactor.operators import RateLimit
from reactor.pipeline import Pipeline, Remembered, Run, RunState, run
from reactor.stream import Ending, Routes, Stream
from reactor.tables import table
from reactor.topics import Topic, topic
from reactor.windowed import Results, Windows
from reactor.windows import (
    Context,
    Count,
    Early,
    Global,
    Interval,
    Joined,
    Process,
    Session,
    Sliding,
    Tumbling,
    Window,
    Windowed,
)

__all__ = [
    # streams and pipelines
    "Stream",
    "Keyed",
    "Routes",
    "Ending",
    "Pipeline",
    "Run",
    "RunState",
    "Remembered",
    "run",
    "Inlet",
    # time
    "Windows",
    "Results",
    "Tumbling",
    "Sliding",
    "Session",
    "Count",
    "Global",
    "Early",
    "Interval",
    "Window",
    "Windowed",
    "Joined",
    "Process",
    "Context",
    "aggregates",
    "RateLimit",
    "Metrics",
    "StageMetrics",
    # contracts
    "event",
    "upcast",
    # topics, files, and what others can write
    "topic",
    "Topic",
    "table",
    "files",
    "Source",
    "Sink",
    "Record",
    "Records",
    # checkpoints
    "Checkpoints",
    "Checkpoint",
    "CheckpointStore",
    "Savepoint",
    "StateError",
    "Fenced",
    "Owned",
    "StateMismatch",
    "StateLocked",
    "StateCorrupt",
    "StateFull",
    # failure
    "Fail",
    "Skip",
    "DeadLetters",
    "Fallback",
    "OnError",
    "Retry",
    "Restart",
    "CircuitBreaker",
    "DeadLetter",
    "StoredLetter",
    "StoredRecord",
    "Limit",
    "checkpoints",
    "StoredCheckpoints",
    "dead_letters",
    "Letters",
    "KeptLetter",
    "LetterAction",
    "LetterState",
    # errors
    "ReactorError",
    "ArgumentError",
    "Cancelled",
    "CircuitOpen",
    "Closed",
    "Deadlock",
    "DecodeError",
    "DrainTimeout",
    "Empty",
    "Fault",
    "FileError",
    "Full",
    "GraphError",
    "LetterError",
    "MissingExtra",
    "NeedsTask",
    "OperatorTimeout",
    "Overflow",
    "ProcessDied",
    "Refused",
    "StrayCancellation",
    "TableError",
    "TooManyDeadLetters",
    "TopicCorrupt",
    "TopicError",
    "TopicFull",
    "TopicLocked",
    "UnknownLetter",
    "UsedTwice",
]
