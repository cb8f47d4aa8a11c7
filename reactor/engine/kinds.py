"""Which kind of stage runs a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactor.engine.calling import CallStage
from reactor.engine.ending import SinkStage
from reactor.engine.foreign import ForeignStage
from reactor.engine.joining import ConcatStage, MergeStage, ZipStage
from reactor.engine.reading import FeedStage, IterableStage, RecordStage
from reactor.engine.stage import ChannelStage, Stage
from reactor.engine.timing import LimitStage, TimedBatchStage
from reactor.operators import Call, Concat, Foreign, Limit, Merge, Origin, SinkEnd, TimedBatch, Zip

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan

_KINDS: dict[type, type[Stage]] = {
    Call: CallStage,
    Concat: ConcatStage,
    Foreign: ForeignStage,
    Limit: LimitStage,
    Merge: MergeStage,
    SinkEnd: SinkStage,
    TimedBatch: TimedBatchStage,
    Zip: ZipStage,
}


def stage_for(plan: StagePlan, run: Execution) -> Stage:
    """Make the stage for this part of the plan; a chain without a head of its own reads a channel."""
    op = plan.head.op
    if isinstance(op, Origin):
        kind: type[Stage] = {"source": RecordStage, "inlet": FeedStage}.get(op.kind, IterableStage)
    else:
        kind = _KINDS.get(type(op), ChannelStage)
    return kind(plan, run)
