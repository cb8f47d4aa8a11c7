"""What tests of pipelines need: a virtual clock, probes, marbles, scripts, and a reference interpreter."""

from reactor.testing.awaits import settle
from reactor.testing.clock import (
    START,
    Stuck,
    Virtual,
    VirtualClock,
    hold_clock,
    run_virtual,
    virtual_backend,
)
from reactor.testing.contracts import check_contracts
from reactor.testing.interpreter import interpret
from reactor.testing.marbles import MarbleFailure, Marbles, Moment, drawn, marble_of, timeline
from reactor.testing.outcome import Arrived, Failure, Letter, Outcome, Undetermined
from reactor.testing.probes import SinkProbe, SourceProbe, probed
from reactor.testing.script import ABORT, EOF, PAUSE, At, Crash, Script, Timed, Watermark
from reactor.testing.simulation import (
    Decision,
    Fault,
    Simulated,
    SimulationFailed,
    World,
    run_simulation,
    simulate,
)

__all__ = [
    "ABORT",
    "EOF",
    "PAUSE",
    "START",
    "Arrived",
    "At",
    "Crash",
    "Decision",
    "Failure",
    "Fault",
    "Letter",
    "MarbleFailure",
    "Marbles",
    "Moment",
    "Outcome",
    "Script",
    "Simulated",
    "SimulationFailed",
    "SinkProbe",
    "SourceProbe",
    "Stuck",
    "Timed",
    "Undetermined",
    "Virtual",
    "VirtualClock",
    "Watermark",
    "World",
    "check_contracts",
    "drawn",
    "hold_clock",
    "interpret",
    "marble_of",
    "probed",
    "run_simulation",
    "run_virtual",
    "settle",
    "simulate",
    "timeline",
    "virtual_backend",
]
