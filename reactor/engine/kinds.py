"""Which kind of stage runs a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactor.engine.calling import CallStage
from reactor.engine.combining import CombineLatestStage, InterleaveStage, WithLatestStage
from reactor.engine.conflating import ConflateStage
from reactor.engine.delaying import DelayStage, TimeoutStage
from reactor.engine.ending import SinkStage
from reactor.engine.foreign import ForeignStage
from reactor.engine.inner import InnerStage
from reactor.engine.joining import ConcatStage, MergeStage, ZipStage
from reactor.engine.pacing import DebounceStage, SampleStage, ThrottleStage
from reactor.engine.reading import FeedStage, IterableStage, RecordStage
from reactor.engine.stage import ChannelStage, Stage
from reactor.engine.ticking import IdleStage, TickingStage
from reactor.engine.timing import LimitStage, TimedBatchStage
from reactor.operators import (
    Call,
    CombineLatest,
    Concat,
    Conflate,
    Debounce,
    Delay,
    EventTime,
    Foreign,
    Inner,
    Interleave,
    Limit,
    Merge,
    Origin,
    Sample,
    SinkEnd,
    Throttle,
    Timed,
    TimedBatch,
    Timeout,
    WithLatest,
    Zip,
)

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan

_KINDS: dict[type, type[Stage]] = {
    Call: CallStage,
    CombineLatest: CombineLatestStage,
    Concat: ConcatStage,
    Conflate: ConflateStage,
    Debounce: DebounceStage,
    Delay: DelayStage,
    Foreign: ForeignStage,
    Inner: InnerStage,
    Interleave: InterleaveStage,
    Limit: LimitStage,
    Merge: MergeStage,
    Sample: SampleStage,
    SinkEnd: SinkStage,
    Throttle: ThrottleStage,
    TimedBatch: TimedBatchStage,
    Timeout: TimeoutStage,
    WithLatest: WithLatestStage,
    Zip: ZipStage,
}


def stage_for(plan: StagePlan, run: Execution) -> Stage:
    """Make the stage for this part of the plan; a chain without a head of its own reads a channel."""
    op = plan.head.op
    if isinstance(op, Origin):
        kind: type[Stage] = {"source": RecordStage, "inlet": FeedStage}.get(op.kind, IterableStage)
    elif isinstance(op, Timed) and (op.clock or op.ticks):
        kind = TickingStage
    elif isinstance(op, EventTime) and op.ticks:
        kind = IdleStage
    else:
        kind = _KINDS.get(type(op), ChannelStage)
    return kind(plan, run)
