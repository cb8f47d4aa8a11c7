"""The verbs, by family: each an operator with its settings, and the lines that it writes into a loop."""

from reactor.operators.batching import Batch
from reactor.operators.body import SKIP, Abort, Body, Finished, Fused
from reactor.operators.calling import Call, Emit, Foreign, Order
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
from reactor.operators.selecting import Distinct, Skip, SkipWhile, Take, TakeWhile

__all__ = [
    "NOTHING",
    "SKIP",
    "Abort",
    "Batch",
    "Body",
    "Buffer",
    "Call",
    "CallSink",
    "Concat",
    "Distinct",
    "Emit",
    "Enumerate",
    "Filter",
    "Finished",
    "FlatMap",
    "Fold",
    "Foreign",
    "Fused",
    "Gather",
    "Items",
    "Limit",
    "Map",
    "Merge",
    "OfType",
    "Order",
    "Origin",
    "Pairwise",
    "Policy",
    "RateLimit",
    "Scan",
    "SinkEnd",
    "Skip",
    "SkipWhile",
    "Split",
    "StarMap",
    "Take",
    "TakeWhile",
    "Tap",
    "TimedBatch",
    "Zip",
]
