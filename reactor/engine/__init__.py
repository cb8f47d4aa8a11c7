"""Runs a graph on one event loop: plan, fuse, channels, stages, barriers.

``plan`` cuts a graph into stages, ``fuse`` writes the loop of a stage, ``channel`` lies between two of them.
``stage`` is what all stages share; ``reading``, ``joining``, ``calling``, ``timing``, ``ending`` and ``foreign``
say where the events of each kind come from. ``barriers`` commits positions; ``execution`` is one run.
"""

from reactor.engine.execution import Execution, State, log
from reactor.engine.feed import Feed
from reactor.engine.inplace import NeedsTask, Opened, iterate
from reactor.engine.metrics import Metrics, StageMetrics
from reactor.engine.plan import described
from reactor.engine.restarting import Restarts
from reactor.engine.saving import remembered
from reactor.engine.stage import Stage

__all__ = [
    "Execution",
    "Feed",
    "Metrics",
    "NeedsTask",
    "Opened",
    "Restarts",
    "Stage",
    "StageMetrics",
    "State",
    "described",
    "iterate",
    "log",
    "remembered",
]
