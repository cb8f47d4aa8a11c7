"""Fusion: neighbouring sync operators become one generated loop.

The loop is a generator. ``send(chunk)`` runs every operator over every event of the chunk and yields
``(True, *lists)``: for each output port the values, then its columns. ``(False, *lists)`` asks to be sent
None: an operator that emits many events for one was interrupted, so that what is there can go on.
``send(None)`` while idle means the end: what is held is emitted, and the generator returns its last lists.
The source is registered with linecache, so tracebacks show its lines; the ``try`` of each call stands inside
the loop, where it costs nothing until something is raised.
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from reactor.core import ReactorError
from reactor.engine.elements import Chunk
from reactor.graph import Column, Node
from reactor.operators import Body, Fused, Split

Running = Generator[tuple[Any, ...], Chunk | None, tuple[Any, ...]]
Handler = Callable[..., Any]

PAUSE_AFTER = 1024
"""After so many events out of one event in, the loop pauses."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Loop:
    """The source of one fused loop, and what it starts with."""

    source: str
    states: dict[str, Any]
    env: dict[str, Any]
    holders: tuple[str, ...]

    def start(self, handlers: Sequence[Handler]) -> tuple[Running, dict[str, Any]]:
        """Compile it; return the generator, not primed yet, and its variables as of the last chunk.

        ``handlers[op](value, origin, error)`` decides what the failure of an operator means.
        """
        filename = f"<reactor loop {next(_numbers)}>"
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(keepends=True), filename)
        env = self.env  # not a copy: a function's first call takes its check out of here
        env |= {f"fail{op}": handler for op, handler in enumerate(handlers)}
        states = dict(self.states)
        exec(compile(self.source, filename, "exec"), env)
        running: Running = env["loop"](states)
        return running, states


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
        body.op = index
        if isinstance(op, Split):
            op.write(body, self.emit)
        elif isinstance(op, Fused):
            op.write(body, lambda: self.rest(index + 1))
        else:
            raise ReactorError(f"{op.describe()} can't be fused")

    def event(self) -> list[str]:
        """The lines for one event."""
        self.body.columns = dict(self.columns)
        self.rest(0)
        lines, self.body.lines = self.body.lines, []
        return lines

    def endings(self) -> list[tuple[int, list[str]]]:
        """For each operator that emits at the end: the lines for that and for all after it."""
        body, found = self.body, []
        for index, op in enumerate(self.chain):
            if isinstance(op, Fused) and op.at_end:
                states, rebound = dict(body.states), list(body.rebound)
                body.op, body.exit = index, "continue"
                body.columns = dict(self.columns)
                op.write_end(body, lambda after=index + 1: self.rest(after))  # type: ignore[misc]
                body.states, body.rebound = states, rebound  # an ending uses the variables of the loop
                found.append((index, body.lines))
                body.lines = []
        return found

    def paused(self, lines: list[str], indent: int) -> list[str]:
        written: list[str] = []
        for line in lines:
            lead = " " * (indent + len(line) - len(line.lstrip()))
            if line.strip() == "PAUSE":
                again = f"{self.fresh}; room = {PAUSE_AFTER}"
                written += [f"{lead}yield (False{self.lists},)", f"{lead}{again}"]
            else:
                written.append(lead + line.lstrip())
        return written


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

    source = ["def loop(states):", f"    {functions}"]
    source += [f"    {name} = states[{name!r}]" for name in body.states]
    source += ["    done = -1", f"    room = {PAUSE_AFTER}", "    v = None", f"    {fresh}", "    try:"]
    if given:
        source += [f"        {names} = {', '.join(['None'] * len(given))}"]
    if none_wanted:
        source += [f"        raise Finished({none_wanted[0]})"]
    source += ["        while True:", f"            chunk = yield (True{lists},)"]
    source += ["            if chunk is None: break", f"            {functions}"]
    source += [f"            {fresh}"]
    if given:
        source += [f"            for v, {names} in zip(chunk.values, *chunk.columns):"]
    else:
        source += ["            for v in chunk.values:"]
    source += writer.paused(lines or ["pass"], 16)
    source += [f"            {line}" for line in saves]
    source += ["    except Finished as finished:", "        done = finished.args[0]"]
    source += [
        "        states['finished'] = True",
        f"        states['cut'] = {columns.get('origin', 'None')}",
    ]
    source += ["    except Abort as abort:", f"        abort.out = (True{lists},)", "        raise"]
    source += ["    else:", f"        {fresh}"]
    for index, ending in endings:
        source += [f"    if done < {index}:", "        try:"]
        source += writer.paused(ending, 12)
        source += ["        except Finished as finished:", "            done = finished.args[0]"]
        source += [
            "        except Abort as abort:",
            f"            abort.out = (True{lists},)",
            "            raise",
        ]
    source += [f"    {line}" for line in saves]
    source += [f"    return (True{lists},)"]
    return Loop(
        source="\n".join(source) + "\n",
        states={**body.states},
        env=body.env,
        holders=tuple(name for name in body.states if name.startswith("held") and not name.endswith("_o")),
    )


def _count(op: Any) -> int:
    return int(op.count)
