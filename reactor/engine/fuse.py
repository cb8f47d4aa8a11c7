"""Fusion: neighbouring sync operators become one generated loop.

The loop is a generator. ``send(chunk)`` runs every operator over every event of the chunk and yields
``(True, *lists)``: for each output port the values, then its columns. ``(False, *lists)`` asks to be sent
a number: an operator that emits many events for one has paused, so that what is there can go on, and may
emit so many more.
``send(None)`` while idle means the end: what is held is emitted, and the generator returns its last lists.
The source is registered with linecache, so tracebacks show its lines.
"""

from __future__ import annotations

import functools
import itertools
import linecache
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from reactor.core import ReactorError
from reactor.delivery import Fallback
from reactor.engine.elements import Chunk, Tick, Watermark
from reactor.graph import Column, Node
from reactor.operators import Body, Fused, Split
from reactor.windows import BEGINNING

Running = Generator[tuple[Any, ...], Chunk | Tick | Watermark | int | None, tuple[Any, ...]]
Handler = Callable[..., Any]

PAUSE_AFTER = 16
"""After so many events out of one event in, the loop pauses for the first time."""

_KEPT = 1024
"""So many loops stay compiled, and their lines known to tracebacks."""

_numbers = itertools.count(1)
_filenames: deque[str] = deque()


@dataclass(frozen=True, slots=True)
class Loop:
    """The source of one fused loop, and what it starts with."""

    source: str
    states: dict[str, Any]
    env: dict[str, Any]
    operators: dict[int, int]
    """Which operator each line belongs to."""
    holders: tuple[str, ...]
    timed: bool = False
    """True where something in it minds watermarks: it is sent them, ``states["watermark"]`` is what comes out."""

    def start(self, handlers: Sequence[Handler]) -> tuple[Running, dict[str, Any]]:
        """Compile it; return the generator, not primed yet, and its variables as of the last chunk.

        ``handlers[op](value, origin, error)`` decides what the failure of an operator means.
        """
        env = self.env  # not a copy: a function's first call takes its check out of here
        env |= {"Tick": Tick, "Watermark": Watermark}
        env |= {f"fail{op}": handler for op, handler in enumerate(handlers)}
        states = dict(self.states)
        code, env["AT"] = _compiled(self.source, tuple(self.operators.items()))
        exec(code, env)
        running: Running = env["loop"](states)
        return running, states


@functools.lru_cache(_KEPT)
def _compiled(source: str, operators: tuple[tuple[int, int], ...]) -> tuple[CodeType, dict[int, int]]:
    """Compile the source; say which operator each offset in the code belongs to.

    Graphs of one shape have one source, so a stream that is run again and again is compiled once. Where in the
    code an exception was raised says which operator it was; finding the line each time would cost more.
    """
    filename = f"<reactor loop {next(_numbers)}>"
    code = compile(source, filename, "exec")
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    _filenames.append(filename)
    if len(_filenames) > _KEPT:
        linecache.cache.pop(_filenames.popleft(), None)
    loop = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    line_of = dict(operators)
    return code, {
        offset: line_of[line]
        for start, stop, line in loop.co_lines()
        if line in line_of
        for offset in range(start, stop, 2)
    }


class _Writer:
    """Writes the lines for a chain of operators."""

    def __init__(
        self,
        nodes: Sequence[Node],
        wanted: Sequence[tuple[Column, ...]],
        columns: dict[Column, str],
        unused: frozenset[int],
        saves: bool,
        parted: frozenset[int],
    ):
        self.chain = [node.op for node in nodes]
        self.wanted = wanted
        self.columns = columns
        self.unused = unused
        self.body = Body()
        self.body.emit = self.emit
        self.body.parted = parted
        self.saves = saves
        self.columns_at: dict[int, dict[Column, str]] = {}
        """The columns that reach each operator."""
        self.timed = any(op.times in ("makes", "needs") for op in self.chain)
        results = [[f"r{port}", *(f"r{port}_{c}" for c in columns)] for port, columns in enumerate(wanted)]
        names = [name for port in results for name in port]
        self.fresh = "; ".join(f"{name} = []" for name in names) or "pass"
        self.lists = "".join(f", {name}" for name in names)

    def emit(self, port: int) -> None:
        if port in self.unused:
            return
        self.body.add(f"r{port}.append({self.body.value})")
        for column in self.wanted[port]:
            self.body.add(f"r{port}_{column}.append({self.body.columns.get(column, 'None')})")

    def rest(self, index: int) -> None:
        """Write operator ``index`` and all after it."""
        body = self.body
        if index == len(self.chain):
            if self.wanted:
                self.emit(0)
            return
        op = self.chain[index]
        before = body.op, body.resumes, body.passes, body.emits_late, body.saves
        self.look_ahead(index)
        self.columns_at.setdefault(index, dict(body.columns))
        body.op, body.resumes = index, isinstance(getattr(op, "on_error", None), Fallback)
        body.enter()
        if isinstance(op, Split):
            op.write(body, self.emit)
        elif isinstance(op, Fused):
            op.write(body, lambda: self.rest(index + 1))
            self.look_ahead(index)
        else:
            raise ReactorError(f"{op.describe()} can't be fused")
        body.op, body.resumes, body.passes, body.emits_late, body.saves = before

    def look_ahead(self, index: int) -> None:
        """Tell the operator what those behind it need."""
        wanted = {column for port in self.wanted for column in port}
        op = self.chain[index]
        self.body.saves = self.saves and not op.volatile
        behind = any(op.times != "carries" for op in self.chain[index + 1 :])
        last = index == len(self.chain) - 1
        self.body.passes = behind or "time" in wanted or "watermark" in wanted
        self.body.emits_late = last and len(self.wanted) > 1 and 1 not in self.unused

    def event(self) -> list[tuple[str, int]]:
        """The lines for one event."""
        self.body.columns = dict(self.columns)
        with self.body.turn():
            self.rest(0)
        lines, self.body.lines = self.body.lines, []
        return lines

    def tail(self) -> list[tuple[str, int]]:
        """The lines for the watermark behind a chunk."""
        body = self.body
        body.columns = dict(self.columns)
        self.each_again(lambda op, rest: op.write_tail(body, rest), lambda op: op.tailed)
        body.add(f"states['watermark'] = {body.columns['watermark']}")
        lines, body.lines = body.lines, []
        return lines

    def ticks(self) -> list[tuple[str, int]]:
        """The lines for the clock: only the first operator looks at it."""
        body = self.body
        body.columns = dict(self.columns)
        op = self.chain[0]
        self.each_again(lambda op, rest: op.write_tick(body, rest, "now"), lambda each: each is op)
        lines, body.lines = body.lines, []
        return lines

    def each_again(
        self, write: Callable[[Fused, Callable[[], None]], None], which: Callable[[Fused], bool]
    ) -> None:
        """Write once more for some operators: with the variables that the lines for an event have."""
        body = self.body
        for index, op in enumerate(self.chain):
            if isinstance(op, Fused) and which(op):
                states, rebound = dict(body.states), list(body.rebound)
                body.op, body.resumes = index, False
                self.look_ahead(index)
                body.value = "v"
                write(op, lambda after=index + 1: self.rest(after))  # type: ignore[misc]
                body.states, body.rebound = states, rebound

    def endings(self) -> list[tuple[int, list[tuple[str, int]]]]:
        """For each operator that emits at the end: the lines for that and for all after it."""
        body, found = self.body, []
        for index, op in enumerate(self.chain):
            if isinstance(op, Fused) and op.at_end:
                states, rebound = dict(body.states), list(body.rebound)
                body.op, body.resumes = index, False
                self.look_ahead(index)
                body.value, body.columns = "v", dict(self.columns_at[index])
                op.write_end(body, lambda after=index + 1: self.rest(after))  # type: ignore[misc]
                body.states, body.rebound = states, rebound  # an ending uses the variables of the loop
                found.append((index, body.lines))
                body.lines = []
        return found


class _Source:
    """The lines of the generator, and which operator each belongs to."""

    def __init__(self, fresh: str, lists: str, raised: dict[str, list[str]]) -> None:
        self._raised = raised
        self.text: list[str] = []
        self.operators: dict[int, int] = {}
        self._fresh = fresh
        self._lists = lists

    def add(self, *lines: str) -> None:
        self.text.extend(lines)

    def add_written(self, lines: list[tuple[str, int]], indent: int) -> None:
        """Add what the operators have written; a PAUSE gives out what is there."""
        for line, op in lines:
            lead = " " * (indent + len(line) - len(line.lstrip()))
            if line.lstrip().startswith("RAISED "):
                for raised in self._raised.get(line.split()[1], ()):
                    self.text.append(lead + raised)
                    self.operators[len(self.text)] = op
                continue
            if line.strip() == "PAUSE":
                self.text.append(f"{lead}room = yield (False{self._lists},)")
                self.text.append(f"{lead}{self._fresh}")
            else:
                self.text.append(lead + line.lstrip())
            self.operators[len(self.text)] = op


def fuse(
    nodes: Sequence[Node],
    given: tuple[Column, ...],
    wanted: Sequence[tuple[Column, ...]],
    origin_is_value: bool = False,
    unused: frozenset[int] = frozenset(),
    ticks: bool = False,
    saves: bool = False,
    parted: frozenset[int] = frozenset(),
) -> Loop:
    """Write the loop for a chain of fused operators.

    ``given`` are the columns of the chunks that come in, ``wanted`` those of each output port: one port for a
    chain that goes on, several when the last node is a Split, none when it is an end. Nobody reads those that are
    ``unused``. With ``ticks`` the first operator looks at the clock; with ``saves`` checkpoints are taken. Those
    that are ``parted`` know of a partitioned source's partitions.
    """
    columns: dict[Column, str] = {column: f"c_{column}" for column in given}
    names = ", ".join(columns.values())
    if origin_is_value:
        columns["origin"] = "v"
    writer = _Writer(nodes, wanted, columns, unused, saves, parted)
    body, fresh, lists = writer.body, writer.fresh, writer.lists
    lines = writer.event()
    tail = writer.tail() if writer.timed else []
    ticking = writer.ticks() if ticks else []
    endings = writer.endings()
    if writer.timed:
        body.states["watermark"] = BEGINNING
    written_back = [f"states[{name!r}] = {name}" for name in dict.fromkeys(body.rebound)]

    functions = "; ".join(f"{name} = F[{name!r}]" for name in body.functions) or "pass"

    source = _Source(fresh, lists, {name: list(dict.fromkeys(lines)) for name, lines in body.raised.items()})
    add = source.add
    add("def loop(states):", f"    {functions}")
    add(*(f"    {name} = states[{name!r}]" for name in body.states))
    add("    done = -1", f"    room = {PAUSE_AFTER}", "    v = None", f"    {fresh}", "    try:")
    if given:
        nothing = ", ".join(str(BEGINNING) if column == "watermark" else "None" for column in given)
        add(f"        {names} = {nothing}")
    for left in dict.fromkeys(body.limits):
        add(f"        if not {left}: raise Finished({left.removeprefix('s')})")
    add("        while True:", f"            chunk = yield (True{lists},)")
    add("            if chunk is None: break", f"            {functions}", f"            {fresh}")
    add(*(f"            {line}" for line in dict.fromkeys(body.prologue)))
    if ticks:
        add("            if type(chunk) is Tick:", "                now = chunk.now")
        source.add_written(ticking, 16)
    if "watermark" in given and writer.timed:
        add("            if type(chunk) is Watermark:", "                c_watermark = chunk.time")
    if given:
        add(f"            for v, {names} in zip(chunk.values, *chunk.columns):")
    else:
        add("            for v in chunk.values:")
    source.add_written(lines, 16)
    source.add_written(tail, 12)
    add(*(f"            {line}" for line in written_back))
    add("    except Finished as finished:", "        done = finished.args[0]")
    add("        states['finished'] = done", f"        states['cut'] = {columns.get('origin', 'None')}")
    add("    except Abort as abort:", f"        abort.out = (True{lists},)", "        raise")
    add("    else:", f"        {fresh}")
    for index, ending in endings:
        add(f"    if done < {index}:", "        try:")
        source.add_written(ending, 12)
        add("        except Finished as finished:", "            done = finished.args[0]")
        add("        except Abort as abort:", f"            abort.out = (True{lists},)", "            raise")
    add(*(f"    {line}" for line in written_back))
    add(f"    return (True{lists},)")
    return Loop(
        source="\n".join(source.text) + "\n",
        states={**body.states},
        env=body.env,
        operators=source.operators,
        holders=tuple(name for name in body.states if name.startswith("held") and "_" not in name),
        timed=writer.timed,
    )
