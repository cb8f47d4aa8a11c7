"""What a run tells of itself: counted per chunk, so that an event costs nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """One stage as of now. Counts are events, times are seconds since the run began."""

    stage: str
    events_in: int
    events_out: int
    queued: int
    """Events that wait in its channels."""
    queued_most: int
    """The most that have waited in one of its channels."""
    busy: float
    """Time spent in the operators' functions; for an async map, while at least one call was in flight."""
    idle: float
    """Time spent waiting for events."""
    blocked: float
    """Time held back by backpressure: there was no room on the way to the next stage."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Events that went no further, by operator and reason: skipped, dead letters, late, dropped by a buffer."""
    restarts: int = 0
    """How often a source that had failed was read again."""
    watermark: int | None = None
    """Where event time stands (microseconds since the epoch), where the stage minds it."""
    late: int = 0
    """Events that came after their windows were gone, whether somebody reads them or not."""
    windows: int = 0
    """States that its windows, joins and processes hold: one for each key and window (or pane)."""
    circuit: str | None = None
    """Where it has a CircuitBreaker: closed, open or half-open."""

    @property
    def watermark_age(self) -> float | None:
        """Seconds between the watermark and the time of day now."""
        return None if self.watermark is None else time.time() - self.watermark / 1_000_000


@dataclass(frozen=True, slots=True)
class Metrics:
    """All stages of a run, in the order of the graph."""

    pipeline: str
    state: str
    seconds: float
    """How long it has run."""
    events_in: int
    """Events read by the sources."""
    in_flight: int
    """Events read that have not reached a sink yet, as far as they can be counted."""
    stages: tuple[StageMetrics, ...]

    def __getitem__(self, stage: str) -> StageMetrics:
        """Return the stage whose name is, or contains, ``stage``."""
        for metrics in self.stages:
            if metrics.stage == stage:
                return metrics
        found = [metrics for metrics in self.stages if stage in metrics.stage]
        if len(found) != 1:
            raise KeyError(f"{stage!r}: one of {', '.join(m.stage for m in self.stages)}")
        return found[0]
