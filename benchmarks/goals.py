"""What the design promises (section 9), and whether a run kept it."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from .harness import Outcome


@dataclass(frozen=True)
class Goal:
    """reactor's throughput over another system's, as a median over the rounds, must reach ``least``."""

    workload: str
    against: str
    least: float
    text: str


@dataclass(frozen=True)
class Verdict:
    goal: Goal
    ratio: float

    @property
    def met(self) -> bool:
        return self.ratio >= self.goal.least


GOALS = (
    Goal("fused", "loop", 0.9, ">= 0.9 of the loop"),
    Goal("fused", "aiostream", 40, ">= 40 x aiostream"),
    Goal("fused", "bytewax", 3, ">= 3 x bytewax"),
    Goal("channels", "loop", 0.5, ">= 0.5 of the loop"),
    Goal("inlet", "loop", 0.4, ">= 0.4 of the loop"),
    Goal("failing", "loop", 0.8, ">= 0.8 of the loop with the same try"),
    Goal("async_map", "loop", 0.6, ">= 0.6 of the hand-written pool"),
    Goal("async_map", "aiostream", 200, ">= 200 x aiostream"),
    Goal("batch", "bytewax", 10, ">= 10 x bytewax"),
    Goal("window", "loop", 0.75, ">= 0.75 of the loop"),
    Goal("window", "loop-inlined", 0.45, ">= 0.45 of the inlined loop"),
    Goal("window", "bytewax", 15, ">= 15 x bytewax"),
    Goal("checkpoint-fused", "without", 0.9, ">= 0.9 of the same without"),
    Goal("checkpoint-window", "without", 0.9, ">= 0.9 of the same without"),
    Goal("codecs-json", "loop", 0.8, ">= 0.8 of the bare library"),
    Goal("codecs-msgpack", "loop", 0.8, ">= 0.8 of the bare library"),
    Goal("codecs-avro", "loop", 0.8, ">= 0.8 of the bare library"),
    Goal("codecs-protobuf", "loop", 0.8, ">= 0.8 of the bare library"),
    Goal("latency", "loop", 1 / 1.5, "latency <= 1.5 x a queue hop"),
)


def judge(outcomes: Iterable[Outcome]) -> list[Verdict]:
    """A verdict for each goal whose two systems took part."""
    measured = {(outcome.workload, outcome.system): outcome for outcome in outcomes}
    verdicts = []
    for goal in GOALS:
        ours = measured.get((goal.workload, "reactor"))
        theirs = measured.get((goal.workload, goal.against))
        if ours is not None and theirs is not None:
            ratios = [their / our for our, their in zip(ours.rounds, theirs.rounds, strict=True)]
            verdicts.append(Verdict(goal, statistics.median(ratios)))
    return verdicts
