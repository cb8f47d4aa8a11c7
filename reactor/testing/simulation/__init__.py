"""The simulation kit: a seed decides what goes wrong, and in which order things happen; results have to stand."""

from reactor.testing.simulation.checking import SimulationFailed, run_simulation, simulate
from reactor.testing.simulation.decisions import Decision
from reactor.testing.simulation.ends import (
    SimulatedLetters,
    SimulatedSink,
    SimulatedSource,
    SimulatedTable,
)
from reactor.testing.simulation.faults import Fault
from reactor.testing.simulation.running import Simulated
from reactor.testing.simulation.states import SimulatedStore
from reactor.testing.simulation.world import World

__all__ = [
    "Decision",
    "Fault",
    "Simulated",
    "SimulatedLetters",
    "SimulatedSink",
    "SimulatedSource",
    "SimulatedStore",
    "SimulatedTable",
    "SimulationFailed",
    "World",
    "run_simulation",
    "simulate",
]
