"""What stands in the bytes: a version, then msgpack, where an extension's code says what msgpack has no word for.

The codes are for ever: saved state outlives the code that wrote it. None is ever given to something else.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reactor.core import StateError

VERSION: Final = 1
MARK: Final = bytes((VERSION,))
"""What all packed bytes begin with."""
NEWEST: Final = 31
"""First bytes up to this may be versions to come; greater ones are damage."""
DEPTH: Final = 100
"""How deep values may be nested: less than what fits on the stack of whoever reads them."""

TUPLE: Final = 1
DICT: Final = 2
SET: Final = 3
FROZENSET: Final = 4
DEQUE: Final = 5
ORDERED: Final = 6
DEFAULT: Final = 7
COUNTER: Final = 8
INT: Final = 9
TEXT: Final = 10
BYTEARRAY: Final = 11
COMPLEX: Final = 12
DECIMAL: Final = 13
FRACTION: Final = 14
UUID: Final = 15
DATETIME: Final = 16
DATE: Final = 17
TIME: Final = 18
TIMEDELTA: Final = 19
ZONE: Final = 20
RANGE: Final = 21
PATH: Final = 22
ENUM: Final = 23
OBJECT: Final = 24
PICKLED: Final = 25
SKETCH: Final = 26
UNSET: Final = 27
ARRAY: Final = 28
SCALAR: Final = 29
MODEL: Final = 30
# Of keys alone: these say which keys are equal, and are never read.
INSTANT: Final = 120
AMBIGUOUS: Final = 121
CLOCK: Final = 122
KEYED: Final = 127
"""A row's value that has the key beside it, where the key's bytes don't tell its type."""

SCALARS: Final = frozenset({str, int, float, bool, type(None), bytes})
"""What msgpack has words for, by exact type: subclasses would come back as something else."""

UNENCODABLE: Final = (OverflowError, UnicodeEncodeError)
"""What msgpack raises for an int of more than 64 bits, and for half of a surrogate pair."""

encode = msgspec.msgpack.Encoder().encode


SMALL: Final = {code: [bytes((0xC7, size, code)) for size in range(256)] for code in (TUPLE, OBJECT)}
"""The heads that are needed most often."""
_ROOM: Final = [b"\xc9\0\0\0\0" + bytes((code,)) for code in range(128)]


def head(code: int, size: int) -> bytes:
    """Return what stands before ``size`` bytes of an extension."""
    if size < 256:
        return bytes((0xC7, size, code))
    return b"\xc9" + size.to_bytes(4, "big") + bytes((code,))


def begin(out: bytearray, code: int) -> int:
    """Leave room for an extension's head; return where its bytes begin."""
    out += _ROOM[code]
    return len(out)


def end(out: bytearray, start: int) -> None:
    """Write the head of the extension that began at ``start``."""
    size = len(out) - start
    if size < 256:
        code = out[start - 1]
        heads = SMALL.get(code)
        out[start - 6 : start] = bytes((0xC7, size, code)) if heads is None else heads[size]
    elif size < 1 << 32:
        out[start - 5 : start - 1] = size.to_bytes(4, "big")
    else:
        raise Refused("is larger than 4 GiB", "keep it in smaller values, under keys of their own")


def array(out: bytearray, size: int) -> None:
    """Write the head of a msgpack array."""
    if size < 16:
        out.append(0x90 | size)
        return
    _sized(out, size, 0x90, 0xDC)


def mapping(out: bytearray, size: int) -> None:
    """Write the head of a msgpack map."""
    _sized(out, size, 0x80, 0xDE)


def _sized(out: bytearray, size: int, small: int, large: int) -> None:
    if size < 16:
        out.append(small | size)
    elif size < 1 << 16:
        out.append(large)
        out += size.to_bytes(2, "big")
    elif size < 1 << 32:
        out.append(large + 1)
        out += size.to_bytes(4, "big")
    else:
        raise Refused("has more than 4 billion items", "keep them under keys of their own")


class Refused(Exception):
    """A part of a value has no encoding; on its way up it learns where that part stands."""

    def __init__(self, what: str, fix: str, *, deep: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.deep = deep
        self.steps: list[str] = []
        """The way to the part, from the inside out."""
        self.holders: list[int] = []
        """Which containers were passed, from the inside out."""

    def passed(self, holder: Any, step: str) -> None:
        """Note that the part stands in ``holder``, behind ``step``."""
        self.holders.append(id(holder))
        self.steps.append(step)

    def error(self, root: str) -> StateError:
        """Return the error for the user; ``root`` is what the whole is called."""
        steps, holders = self.steps[::-1], self.holders[::-1]
        what, fix = self.what, self.fix
        if self.deep:
            seen: dict[int, int] = {}
            for place, holder in enumerate(holders):
                before = seen.setdefault(holder, place)
                if before != place:
                    whole = root + "".join(steps[:before])
                    what = f"contains itself: {root}{''.join(steps[:place])} is {whole} again"
                    fix = "keep a key or an id in place of the object that holds it"
                    steps = steps[:before]
                    break
            else:
                steps = [*steps[:3], " ... "]
        return StateError(f"can't save {root}{''.join(steps)}: it {what}; {fix}")


def shortened(value: object) -> str:
    """Return a value for an error's text."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."
