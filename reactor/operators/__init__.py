"""The verbs, by family: each an operator with its settings, and the lines that it writes into a loop."""

from reactor.operators.batching import Batch
from reactor.operators.body import SKIP, Abort, Body, Finished, Fused
from reactor.operators.calling import Call, Emit, Foreign, Order
from reactor.operators.combining import CombineLatest, Inner, Interleave, WithLatest
from reactor.operators.ends import NOTHING, CallSink, Fold, Gather, Origin, SinkEnd, Split
from reactor.operators.joining import Buffer, Concat, Limit, Merge, Policy, TimedBatch, Zip
from reactor.operators.limits import RateLimit
from reactor.operators.mapping import (
    Enumerate,
    Filter,
    FlatMap,
    Items,
    Map,
    OfType,
    Pairwise,
    Scan,
    StarMap,
    Tap,
)
from reactor.operators.pacing import Conflate, Debounce, Delay, Sample, Throttle, Timeout
from reactor.operators.parting import parted_by
from reactor.operators.selecting import Distinct, Ordered, Skip, SkipWhile, Take, TakeWhile
from reactor.operators.timed import EventTime, Tag, Timed

__all__ = [
    "NOTHING",
    "SKIP",
    "Abort",
    "Batch",
    "Body",
    "Buffer",
    "Call",
    "CallSink",
    "CombineLatest",
    "Concat",
    "Conflate",
    "Debounce",
    "Delay",
    "Distinct",
    "Emit",
    "Enumerate",
    "EventTime",
    "Filter",
    "Finished",
    "FlatMap",
    "Fold",
    "Foreign",
    "Fused",
    "Gather",
    "Inner",
    "Interleave",
    "Items",
    "Limit",
    "Map",
    "Merge",
    "OfType",
    "Order",
    "Ordered",
    "Origin",
    "Pairwise",
    "Policy",
    "RateLimit",
    "Sample",
    "Scan",
    "SinkEnd",
    "Skip",
    "SkipWhile",
    "Split",
    "StarMap",
    "Take",
    "TakeWhile",
    "Tap",
    "Throttle",
    "Tag",
    "Timed",
    "TimedBatch",
    "Timeout",
    "WithLatest",
    "Zip",
    "parted_by",
]
