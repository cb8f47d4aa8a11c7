"""reactor: an asyncio reactive stream framework.

How the house is laid out:

- ``stream.py keyed.py pipeline.py inlet.py topics.py files.py``  what users type: each method adds one node
- ``engine/``      runs a graph on one event loop: plan, fuse, channel, stage, barriers
- ``connectors/``  brokers and files: the embedded broker in a SQLite file, topics in memory
- ``operators/``   the verbs, by family: each an operator and the lines it writes into a loop
- ``graph/``       what to run, as frozen data: nodes, checks, explain
- ``delivery/``    what happens on failure: retry, dead letters
- ``core/``        the words: errors (one tree), records, Source and Sink, durations
- ``testing/``     the reference interpreter

Imports point one way, downwards in this list from what users type to the core; nothing inside imports this file.
"""

from reactor import files
from reactor.core import (
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
    ProcessDied,
    ReactorError,
    Record,
    Sink,
    Source,
    StrayCancellation,
    TopicCorrupt,
    TopicError,
    TopicFull,
    TopicLocked,
    UsedTwice,
)
from reactor.delivery import DeadLetter, DeadLetters, Fail, Fallback, OnError, Retry, Skip, StoredLetter
from reactor.engine import Metrics, NeedsTask, StageMetrics
from reactor.inlet import Inlet
from reactor.keyed import Keyed
from reactor.operators import RateLimit
from reactor.pipeline import Pipeline, Run, run
from reactor.stream import Ending, Routes, Stream
from reactor.topics import Topic, topic

__all__ = [
    # streams and pipelines
    "Stream",
    "Keyed",
    "Routes",
    "Ending",
    "Pipeline",
    "Run",
    "run",
    "Inlet",
    "RateLimit",
    "Metrics",
    "StageMetrics",
    # topics, files, and what others can write
    "topic",
    "Topic",
    "files",
    "Source",
    "Sink",
    "Record",
    # failure
    "Fail",
    "Skip",
    "DeadLetters",
    "Fallback",
    "OnError",
    "Retry",
    "DeadLetter",
    "StoredLetter",
    # errors
    "ReactorError",
    "ArgumentError",
    "Cancelled",
    "Closed",
    "Deadlock",
    "DecodeError",
    "DrainTimeout",
    "Empty",
    "Fault",
    "FileError",
    "Full",
    "GraphError",
    "MissingExtra",
    "NeedsTask",
    "OperatorTimeout",
    "Overflow",
    "ProcessDied",
    "StrayCancellation",
    "TopicCorrupt",
    "TopicError",
    "TopicFull",
    "TopicLocked",
    "UsedTwice",
]
