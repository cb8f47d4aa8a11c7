"""Messages of Protobuf: their text, and the source of what turns plain values into them and back."""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Part(NamedTuple):
    """One value: its type, whether that is a message, how it goes there and comes back, which values it is for.

    ``to`` and ``back`` are expressions over ``{}``.
    """

    type: str
    message: bool
    to: str
    back: str
    takes: Callable[[Any], bool]


@dataclass(frozen=True)
class Line:
    """A field of a message; ``label`` is empty, ``optional``, ``repeated``, or ``map`` (with its key's type)."""

    name: str
    number: int
    type: str
    label: str = ""
    key: str = ""
    oneof: str = ""

    def __str__(self) -> str:
        if self.label == "map":
            return f"map<{self.key}, {self.type}> {self.name} = {self.number};"
        return f"{self.label} {self.type} {self.name} = {self.number};".lstrip()


@dataclass
class Message:
    """A message, and the lines of the functions by which plain values (a dict) go into it and come out.

    In ``writes``, ``v`` is the dict and ``found`` what the message's class is called with; in ``reads``, ``m`` is
    the message and ``found`` the dict.
    """

    name: str
    lines: list[Line] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    tag: tuple[str, str | int] | None = None
    """The field and value that tell its struct from others, which aren't in the message."""

    @property
    def source(self) -> str:
        """The two functions, ``to_NAME`` and ``back_NAME``."""
        bodies = ("to", "v", self.writes), ("back", "m", self.reads)
        return "\n".join(
            "\n    ".join([f"def {way}_{self.name}({given}):", "found = {}", *lines, "return found"]) + "\n"
            for way, given, lines in bodies
        )

    def __str__(self) -> str:
        lines: list[str] = []
        oneof = ""
        for line in self.lines:
            if line.oneof != oneof and oneof:
                lines.append("  }")
            if line.oneof != oneof and line.oneof:
                lines.append(f"  oneof {line.oneof} {{")
            oneof = line.oneof
            lines.append(f"{'    ' if oneof else '  '}{line}")
        if oneof:
            lines.append("  }")
        return "\n".join([f"message {self.name} {{", *lines, "}"])


# Lines of the functions -----------------------------------------------------------------------------------------


def got(name: str) -> str:
    return f"getattr(m, {name!r})" if keyword.iskeyword(name) else f"m.{name}"


def over(expression: str, value: str) -> str:
    return expression.replace("{}", value)


def writes(name: str, to: str, *, must: bool) -> list[str]:
    """The lines that write a field; one that may be None or left out is looked at first."""
    if must:
        return [f"found[{name!r}] = {over(to, f'v[{name!r}]')}"]
    return [f"x_ = v.get({name!r})", f"if x_ is not None: found[{name!r}] = {over(to, 'x_')}"]


def none(name: str, *, empty: bool) -> list[str]:
    return [f"else: found[{name!r}] = None"] if empty else []
