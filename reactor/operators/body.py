"""The body of a fused loop while it is written: lines of Python, and the objects they name.

A fused stage is one generator. The engine sends it a chunk, it runs every operator over every event
and yields what came out. Each operator writes its few lines with the calls below; the variable
``value`` always names the event as it stands at that point.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ClassVar

from reactor.core import ArgumentError
from reactor.graph import Column, Memory, Operator


class Skipped:
    """The answer of a failure's handler that means: go on with the next event."""

    def __repr__(self) -> str:
        return "SKIP"


SKIP = Skipped()


class Abort(BaseException):
    """Stops the run from within a loop: which operator, what it was given, and what came out before it.

    No ``on_error=`` applies to it: it is how Fail ends, and a function that can't be used like this.
    """

    def __init__(self, op: int, value: Any, error: Exception) -> None:
        self.op = op
        self.value = value
        self.error = error
        self.out: tuple[Any, ...] = ()


class Finished(BaseException):
    """Raised inside a fused loop by an operator that needs no more input (take, take_while)."""


class Body:
    """Writes the source of one fused generator.

    One ``try`` stands inside each loop, around all that it does for an event. When something is raised, the
    traceback's line says which operator it was, and a local variable still holds what that was given.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []
        """Each line, and the operator that it belongs to."""
        self.functions: dict[str, Callable[..., Any]] = {}
        """The users' functions, by the names of the local variables that hold them."""
        self.env: dict[str, Any] = {"SKIP": SKIP, "Finished": Finished, "Abort": Abort, "F": self.functions}
        self.states: dict[str, Any] = {}
        self.rebound: list[str] = []
        self.depth = 0
        self.value = "v"
        self.columns: dict[Column, str] = {}
        """The variables, or expressions, that hold the event's columns."""
        self.op = 0
        self.resumes = False
        """True where a failure may give a result after all: the operator goes on from where it was."""
        self.risks: dict[int, tuple[str, str]] = {}
        """For the operators in the present ``try``: the variables that hold the event and its origin."""
        self.passes = False
        """True where what the present operator emits needs its event time and watermark."""
        self.emits_late = False
        """True where somebody reads the present operator's output 1."""
        self.emit: Callable[[int], None] = _nowhere
        """Writes what hands the event to an output of the stage."""
        self.raised: dict[str, list[str]] = {}
        """Lines for where a variable with the highest time has been raised."""
        self.limits: list[str] = []
        """Variables that count down: the loop is over before its first event where one is at 0."""
        self.prologue: list[str] = []
        """Lines before each chunk."""
        self.saves = False
        """True where checkpoints are taken: what changes in a table is noted."""
        self.parted: frozenset[int] = frozenset()
        """The operators that know of partitions: origins say of which an event is, watermarks which there are."""
        self._count = 0

    exit = "continue"
    """What drops the event: the next turn of the innermost loop."""

    def add(self, line: str) -> None:
        """Add one line at the present depth."""
        self.lines.append(("    " * self.depth + line, self.op))

    @contextmanager
    def block(self, head: str) -> Generator[None, None, None]:
        """Open ``head`` (an ``if``, a ``for``); what is added inside stands one level deeper."""
        self.add(head)
        self.depth += 1
        yield
        self.depth -= 1

    @contextmanager
    def turn(self) -> Generator[None, None, None]:
        """The body of a loop: what fails inside is handled, then comes the loop's next turn."""
        risks, columns = self.risks, dict(self.columns)
        self.risks = {}
        self.enter()
        self.add("try:")
        start = len(self.lines)
        self.depth += 1
        yield
        if len(self.lines) == start:
            self.add("pass")
        self.depth -= 1
        self.add("except Exception as error:")
        self.depth += 1
        found, self.risks = self.risks, risks
        if len(found) > 1:
            self.add("at = AT[error.__traceback__.tb_lasti]")
        for number, (op, (value, origin)) in enumerate(reversed(found.items())):
            call = f"fail{op}({value}, {origin}, error)"
            if len(found) == 1:
                self.add(call)
            elif number < len(found) - 1:
                self.add(f"{'if' if number == 0 else 'elif'} at == {op}: {call}")
            else:
                self.add(f"else: {call}")
        self.depth -= 1
        self.columns = columns

    def enter(self) -> None:
        """The present operator begins, in the present ``try``: this is what it was given."""
        self.risks[self.op] = (self.value, self.origin)

    def forget_highest(self) -> None:
        """The watermark is no longer what event_time has made of the highest time in this loop."""
        names: tuple[Column, ...] = ("highest", "highest_of", "behind")
        for column in names:
            self.columns.pop(column, None)

    def fresh(self, hint: str = "x") -> str:
        """A local variable's name that nobody else has."""
        self._count += 1
        return f"{hint}{self._count}"

    def const(self, value: Any, hint: str = "k") -> str:
        """A name for an object that the lines use."""
        name = f"{hint}_{self.op}_{len(self.env)}"
        self.env[name] = value
        return name

    def function(self, fn: Callable[..., Any], verb: str) -> str:
        """A name for a user's function; its first result is checked not to be awaitable."""
        name = f"f{self.op}_{len(self.functions)}"
        self.functions[name] = fn
        if type(fn) is not type and not inspect.isbuiltin(fn):
            self.functions[name] = _checked(fn, verb, self.functions, name, self.op)
        return name

    def state(self, initial: Any, hint: str = "s") -> str:
        """A variable that lives as long as the stage, one for each operator.

        One that is rebound is written back per chunk. An ending that writes the operator again gets the same.
        """
        name = f"{hint}{self.op}"
        self.states[name] = initial
        return name

    def keep(self, name: str, initial: Any) -> None:
        """A variable of a given name that lives as long as the stage and may be rebound."""
        self.states[name] = initial
        self.rebound.append(name)

    def note(self, key: str) -> None:
        """The row of this key, in the operator's table ``s``, has changed."""
        if self.saves:
            name = f"noted{self.op}"
            self.states[name] = {}
            self.add(f"{name}[{key}] = None")

    def guard(self, expression: str) -> str:
        """Evaluate a user's function. Returns the name of the result, or of what stands in for it."""
        result = self.fresh()
        if not self.resumes:
            self.add(f"{result} = {expression}")
            return result
        self.add("try:")
        self.add(f"    {result} = {expression}")
        self.add("except Exception as error:")
        self.add(f"    {result} = fail{self.op}({self.value}, {self.origin}, error)")
        return result

    def test(self, expression: str) -> None:
        """Go on only if a user's function, or what stands in for its result, is true."""
        if not self.resumes:
            self.add(f"if not {expression}: {self.exit}")
        else:
            self.add(f"if not {self.guard(expression)}: {self.exit}")

    def effect(self, expression: str) -> None:
        """Evaluate a user's function for its effect alone."""
        if not self.resumes:
            self.add(expression)
        else:
            self.guard(expression)

    @property
    def origin(self) -> str:
        """The variable that holds the event's origin, or None."""
        return self.columns.get("origin", "None")


def _nowhere(port: int) -> None:
    """Replaced by the writer of the loop."""


class Fused(Operator):
    """An operator that runs inside a fused loop."""

    tailed: ClassVar[bool] = False
    """True when ``write_tail`` does something."""

    def write(self, body: Body, rest: Callable[[], None]) -> None:
        """Write the lines for one event, and call ``rest`` once where the event goes on."""
        raise NotImplementedError

    def write_end(self, body: Body, rest: Callable[[], None]) -> None:
        """Write what is emitted when the input has ended (a batch that isn't full)."""

    def write_tail(self, body: Body, rest: Callable[[], None]) -> None:
        """Write what the watermark behind the chunk leads to; it is a column of ``body``, which may change it."""

    def write_tick(self, body: Body, rest: Callable[[], None], now: str) -> None:
        """Write what the clock makes due, where the operator looks at it."""

    @property
    def at_end(self) -> bool:
        """True when ``write_end`` writes something."""
        return False

    @property
    def nests(self) -> bool:
        """True when those behind it stand in a loop that it writes."""
        return False


class Remembering(Operator):
    """An operator that remembers something of the events that have passed."""

    is_volatile: bool = False
    """True when the user accepts that a restart forgets it."""

    @property
    def memory(self) -> Memory:
        return "remembering"

    @property
    def volatile(self) -> bool:
        return self.is_volatile


def _checked(
    fn: Callable[..., Any], verb: str, functions: dict[str, Callable[..., Any]], name: str, op: int
) -> Callable[..., Any]:
    def first(*args: Any) -> Any:
        result = fn(*args)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            error = ArgumentError(
                f"{verb}({getattr(fn, '__name__', fn)!s}): a sync function returned an awaitable; "
                "pass concurrency= to have it awaited"
            )
            raise Abort(op, args[-1], error)
        functions[name] = fn  # checked once: from the next chunk on the loop calls the function itself
        return result

    return first
