"""When results are due: event times, assigners, aggregates, and the kernels that hold windows. Pure Python."""

from reactor.windows.aggregates import (
    Aggregate,
    Collect,
    Fold,
    Max,
    Mean,
    Min,
    Quantile,
    Reduce,
    Several,
    Sum,
    Top,
)
from reactor.windows.aggregates import Count as Counting
from reactor.windows.assigners import (
    Assigner,
    Count,
    Early,
    Global,
    Interval,
    Joined,
    Session,
    Sliding,
    Tumbling,
    Window,
    Windowed,
)
from reactor.windows.counts import Counts
from reactor.windows.joins import How, Intervals, Sides, Table, pairs
from reactor.windows.kernel import NEVER, Kernel
from reactor.windows.panes import Panes
from reactor.windows.parts import Parts, PartTimes
from reactor.windows.process import Context, Handlers, Process
from reactor.windows.sessions import Sessions
from reactor.windows.states import States
from reactor.windows.times import (
    BEGINNING,
    END_OF_TIME,
    Unit,
    converter,
    micros,
    of_datetime,
    shift,
    to_datetime,
    whole,
)

__all__ = [
    "BEGINNING",
    "END_OF_TIME",
    "NEVER",
    "Aggregate",
    "Context",
    "Handlers",
    "How",
    "Intervals",
    "Process",
    "Sides",
    "Table",
    "pairs",
    "shift",
    "Assigner",
    "Collect",
    "Count",
    "Counting",
    "Counts",
    "Early",
    "Fold",
    "Global",
    "Interval",
    "Joined",
    "Kernel",
    "Max",
    "Mean",
    "Min",
    "Panes",
    "PartTimes",
    "Parts",
    "Quantile",
    "Reduce",
    "Session",
    "Sessions",
    "Several",
    "Sliding",
    "States",
    "Sum",
    "Top",
    "Tumbling",
    "Unit",
    "Window",
    "Windowed",
    "converter",
    "micros",
    "of_datetime",
    "to_datetime",
    "whole",
]
