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
from reactor.engine.elements import Chunk
from reactor.graph import Column, Node
from reactor.operators import Body, Fused, Split

Running = Generator[tuple[Any, ...], Chunk | int | None, tuple[Any, ...]]
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

    def start(self, handlers: Sequence[Handler]) -> tuple[Running, dict[str, Any]]:
        """Compile it; return the generator, not primed yet, and its variables as of the last chunk.

        ``handlers[op](value, origin, error)`` decides what the failure of an operator means.
        """
        env = self.env  # not a copy: a function's first call takes its check out of here
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
        self, nodes: Sequence[Node], wanted: Sequence[tuple[Column, ...]], columns: dict[Column, str]
    ):
        self.chain = [node.op for node in nodes]
        self.wanted = wanted
        self.columns = columns
        self.body = Body()
        results = [[f"r{port}", *(f"r{port}_{c}" for c in columns)] for port, columns in enumerate(wanted)]
        names = [name for port in results for name in port]
        self.fresh = "; ".join(f"{name} = []" for name in names) or "pass"
        self.lists = "".join(f", {name}" for name in names)

    def emit(self, port: int) -> None:
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
        before = body.op, body.resumes
        body.op, body.resumes = index, isinstance(getattr(op, "on_error", None), Fallback)
        body.enter()
        if isinstance(op, Split):
            op.write(body, self.emit)
        elif isinstance(op, Fused):
            op.write(body, lambda: self.rest(index + 1))
        else:
            raise ReactorError(f"{op.describe()} can't be fused")
        body.op, body.resumes = before

    def event(self) -> list[tuple[str, int]]:
        """The lines for one event."""
        self.body.columns = dict(self.columns)
        with self.body.turn():
            self.rest(0)
        lines, self.body.lines = self.body.lines, []
        return lines

    def endings(self) -> list[tuple[int, list[tuple[str, int]]]]:
        """For each operator that emits at the end: the lines for that and for all after it."""
        body, found = self.body, []
        for index, op in enumerate(self.chain):
            if isinstance(op, Fused) and op.at_end:
                states, rebound = dict(body.states), list(body.rebound)
                body.op, body.resumes = index, False
                body.value, body.columns = "v", dict(self.columns)
                op.write_end(body, lambda after=index + 1: self.rest(after))  # type: ignore[misc]
                body.states, body.rebound = states, rebound  # an ending uses the variables of the loop
                found.append((index, body.lines))
                body.lines = []
        return found


class _Source:
    """The lines of the generator, and which operator each belongs to."""

    def __init__(self, fresh: str, lists: str) -> None:
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
) -> Loop:
    """Write the loop for a chain of fused operators.

    ``given`` are the columns of the chunks that come in, ``wanted`` those of each output port: one port for a
    chain that goes on, several when the last node is a Split, none when it is an end.
    """
    columns: dict[Column, str] = {column: f"c_{column}" for column in given}
    names = ", ".join(columns.values())
    if origin_is_value:
        columns["origin"] = "v"
    writer = _Writer(nodes, wanted, columns)
    body, fresh, lists = writer.body, writer.fresh, writer.lists
    lines, endings = writer.event(), writer.endings()
    saves = [f"states[{name!r}] = {name}" for name in dict.fromkeys(body.rebound)]
    none_wanted = [index for index, op in enumerate(writer.chain) if op.verb == "take" and not _count(op)]

    functions = "; ".join(f"{name} = F[{name!r}]" for name in body.functions) or "pass"

    source = _Source(fresh, lists)
    add = source.add
    add("def loop(states):", f"    {functions}")
    add(*(f"    {name} = states[{name!r}]" for name in body.states))
    add("    done = -1", f"    room = {PAUSE_AFTER}", "    v = None", f"    {fresh}", "    try:")
    if given:
        add(f"        {names} = {', '.join(['None'] * len(given))}")
    if none_wanted:
        add(f"        raise Finished({none_wanted[0]})")
    add("        while True:", f"            chunk = yield (True{lists},)")
    add("            if chunk is None: break", f"            {functions}", f"            {fresh}")
    if given:
        add(f"            for v, {names} in zip(chunk.values, *chunk.columns):")
    else:
        add("            for v in chunk.values:")
    source.add_written(lines, 16)
    add(*(f"            {line}" for line in saves))
    add("    except Finished as finished:", "        done = finished.args[0]")
    add("        states['finished'] = True", f"        states['cut'] = {columns.get('origin', 'None')}")
    add("    except Abort as abort:", f"        abort.out = (True{lists},)", "        raise")
    add("    else:", f"        {fresh}")
    for index, ending in endings:
        add(f"    if done < {index}:", "        try:")
        source.add_written(ending, 12)
        add("        except Finished as finished:", "            done = finished.args[0]")
        add("        except Abort as abort:", f"            abort.out = (True{lists},)", "            raise")
    add(*(f"    {line}" for line in saves))
    add(f"    return (True{lists},)")
    return Loop(
        source="\n".join(source.text) + "\n",
        states={**body.states},
        env=body.env,
        operators=source.operators,
        holders=tuple(name for name in body.states if name.startswith("held") and not name.endswith("_o")),
    )


def _count(op: Any) -> int:
    return int(op.count)
