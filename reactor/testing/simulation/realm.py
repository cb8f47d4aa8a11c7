"""What outlives the processes of one simulation, and how they are disturbed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

from reactor.testing.clock import VirtualClock
from reactor.testing.simulation.decisions import Decisions
from reactor.testing.simulation.faults import FAMILY, LIMITS, MISHAPS, Fault, Killed, Kind, Mishap

T = TypeVar("T")

AT_BARRIERS, AT_STARTS = 8.0, 0.7
"""How often calls are disturbed, beside reads and writes, that come with each barrier, or at each start."""

_BEHIND: frozenset[Kind] = frozenset({"slow", "unheard", "paused after"})


class Realm:
    """One simulation: its decisions, its trace, and what is kept outside of the processes."""

    def __init__(self, decisions: Decisions, clock: VirtualClock, events: int | None) -> None:
        self.decisions = decisions
        self.clock = clock
        self.most_events = events
        """How many events a source gives at most; shrinking lowers it."""
        self.longest = 0
        """How many events the longest source gives."""
        self.trace: list[str] = []
        self.kept: dict[tuple[type, str], Any] = {}
        """What each source, sink and store has kept, by its kind and name."""
        self.wrong: list[str] = []
        """What must never happen and has."""
        self.processes: list[Process] = []
        self.gone: set[str] = set()
        """Holders of leases that are known to be gone."""
        self.tasks: anyio.abc.TaskGroup | None = None
        self.disturbed = True
        self._left = dict(LIMITS)
        self.rates = {
            "slow": decisions.rate(0, 0.01, 0.05, 0.2),
            "failed": decisions.rate(0, 0.003, 0.01, 0.05),
            "killed": decisions.rate(0, 0.002, 0.01, 0.03),
            "paused": decisions.rate(0, 0.002, 0.005, 0.02),
        }
        self.shuffled = decisions.rate(0, 0.05, 0.5)
        self.tick = decisions.rate(0, 0, 1e-5, 1e-3)
        """How much time a look at the machine's clock takes: with much of it, stages let others run often."""
        self.jitter = random.Random(f"jitter {decisions.seed}")

    def keep(self, kind: type[Any], name: str, make: Callable[[], T]) -> T:
        """Return what has been kept of this kind under this name."""
        if (kind, name) not in self.kept:
            self.kept[kind, name] = make()
        found: T = self.kept[kind, name]
        return found

    def note(self, text: str) -> None:
        """Write a line of the trace."""
        self.trace.append(f"{self.clock.elapsed:.6f} {text}")

    def choose(self, place: str, count: int, chance: float) -> int:
        """Choose evenly, where the world is still disturbed."""
        return self.decisions.evenly(place, count, chance if self.disturbed else 0.0)

    def mishap(self, place: str, kinds: frozenset[Kind], often: float) -> Mishap | None:
        """Decide what happens to a call."""
        if not self.disturbed:
            return None
        counts = {
            family: sum(FAMILY[one.kind] == family and one.kind in kinds for one in MISHAPS)
            for family in LIMITS
        }
        weights = [
            min(self.rates[FAMILY[one.kind]] * often, 0.5) / counts[FAMILY[one.kind]]
            if one.kind in kinds and self._left[FAMILY[one.kind]] > 0
            else 0.0
            for one in MISHAPS
        ]
        choice = self.decisions.choose(place, weights)
        if not choice or MISHAPS[choice - 1].kind not in kinds:
            return None
        self._left[FAMILY[MISHAPS[choice - 1].kind]] -= 1
        return MISHAPS[choice - 1]


class Process:
    """One process that runs the pipeline, until it ends, or is killed."""

    def __init__(self, realm: Realm) -> None:
        self.realm = realm
        realm.processes.append(self)
        self.number = len(realm.processes)
        self.dead = False
        self.over = False
        self.stopped = False
        """True when it was asked to stop: that it ends doesn't mean that the pipeline is complete."""
        self.complete = False
        self.fenced = False
        """True when it has been told that another one has taken over."""
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.left = anyio.Event()
        """Set when somebody has to start another one: it is over, dead, or stands still for long."""
        self._still_until = 0.0

    def note(self, text: str) -> None:
        """Write a line of the trace, with the process."""
        self.realm.note(f"process {self.number}: {text}")

    def kill(self) -> None:
        """Nothing that it does has an effect from now on."""
        if self.dead or self.over:
            return
        self.dead = True
        self.note("killed")
        if self.realm.choose("the lease of the dead", 2, 0.5):
            self.realm.gone.add(f"process {self.number}")
        self.scope.cancel()
        self.left.set()

    def pause(self, seconds: float) -> None:
        """Whatever it calls waits for so long."""
        self._still_until = max(self._still_until, anyio.current_time() + seconds)
        self.left.set()

    async def live(self) -> None:
        """Go on only while the process lives; wait while it stands still."""
        while True:
            if self.dead:
                raise Killed
            rest = self._still_until - anyio.current_time()
            if rest <= 0:
                return
            await anyio.sleep(rest)

    async def call(
        self,
        place: str,
        effect: Callable[[], T],
        kinds: frozenset[Kind],
        *,
        often: float = 1.0,
        wait: float = 0.0,
    ) -> T:
        """Do what happens to a call that has this effect; the effect happens at once, or not at all."""
        if self.dead:
            raise Killed
        mishap = self.realm.mishap(place, kinds, often)
        kind, seconds = mishap or ("", 0.0)
        if mishap is not None:
            self.note(f"{place}: {mishap}")
        await (anyio.sleep(wait) if wait else anyio.lowlevel.checkpoint())
        if kind == "late":
            await anyio.sleep(seconds)
        elif kind == "paused":
            self.pause(seconds)
        await self.live()
        if kind == "refused":
            raise Fault(f"{place}: refused")
        if kind == "killed":
            self.kill()
            raise Killed
        if kind == "in flight":
            self._send(place, effect, seconds)
            self.kill()
            raise Killed
        result = effect()
        self.note(place)
        if kind == "killed after":
            self.kill()
            raise Killed
        if kind == "slow":
            await anyio.sleep(seconds)
        elif kind == "paused after":
            self.pause(seconds)
        if kinds & _BEHIND:
            await self.live()
        if kind == "unheard":
            raise Fault(f"{place}: no answer")
        return result

    def _send(self, place: str, effect: Callable[[], Any], seconds: float) -> None:
        async def arrive() -> None:
            await anyio.sleep(seconds)
            try:
                effect()
            except Exception as error:
                self.note(f"{place}, after its death: {type(error).__name__}")
            else:
                self.note(f"{place}, after its death")

        assert self.realm.tasks is not None
        self.realm.tasks.start_soon(arrive)
