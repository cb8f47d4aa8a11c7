"""Objects of the user's classes to bytes."""

from __future__ import annotations

import enum
import pickle
import sys
from datetime import date, datetime
from typing import Any

from reactor.delivery.packing import codes
from reactor.delivery.packing.arrays import array_parts, is_array, is_scalar
from reactor.delivery.packing.codes import SCALARS, UNENCODABLE, Refused, begin, encode, end, head
from reactor.delivery.packing.models import found_shape
from reactor.delivery.packing.names import path_of
from reactor.delivery.packing.plain import checked
from reactor.delivery.packing.shapes import Shape
from reactor.delivery.packing.writing import Write, Writing


class WritingObjects(Writing):
    """Writes objects, too; what it has learnt of their classes it keeps."""

    def __init__(self, pickled: tuple[type, ...]) -> None:
        super().__init__()
        self._pickled = {kind: path_of(kind) for kind in pickled}

    def learn(self, kind: Any) -> Write:
        for listed in self._pickled:
            if issubclass(kind, listed):
                return self._pickling(listed)
        if issubclass(kind, enum.Enum):
            return self._enum(kind)
        shape = found_shape(kind)
        if shape is not None:
            return self._object(shape)
        if is_array(kind):
            return self.parts(codes.ARRAY, array_parts)
        if is_scalar(kind):
            return self.parts(codes.SCALAR, array_parts)
        sketches: Any = sys.modules.get("datasketches")
        if sketches is not None and kind is getattr(sketches, "kll_doubles_sketch", None):
            return self.raw(codes.SKETCH, lambda value: checked(value.serialize()))
        raise Refused(f"is a {kind.__module__}.{kind.__qualname__}, which has no encoding", _fix(kind))

    def _object(self, shape: Shape) -> Write:
        names = shape.names

        def step(place: int, _: Any) -> str:
            return f".{names[place]}"

        def write(value: Any, out: bytearray, depth: int) -> None:
            values = shape.taken(value)
            if values is None:
                self._partly(shape, value, out, depth)
                return
            start = begin(out, codes.OBJECT)
            out += shape.opening
            if SCALARS.issuperset(map(type, values)):
                try:
                    out += encode(values)
                except UNENCODABLE:
                    self.each(value, values, out, depth, step)
            else:
                self.each(value, values, out, depth, step)
            if not shape.bare:
                self._besides(shape, value, out, start, depth)
            end(out, start)

        return write

    def _partly(self, shape: Shape, value: Any, out: bytearray, depth: int) -> None:
        """Append an object some of whose fields have no value."""
        fields = shape.partly(value)
        names = [name for name, stored in zip(shape.names, shape.stored, strict=True) if stored in fields]
        start = begin(out, codes.OBJECT)
        out += b"\x93" + encode(shape.tag) + encode(list(fields))
        self.each(value, tuple(fields.values()), out, depth, lambda place, _: f".{names[place]}")
        self._besides(shape, value, out, start, depth)
        end(out, start)

    def _besides(self, shape: Shape, value: Any, out: bytearray, start: int, depth: int) -> None:
        besides = shape.besides(value)
        if besides is not None:
            out[start] = 0x94
            try:
                self.write(besides, out, depth)
            except Refused as refused:
                # Its attributes, in words of Python: the way leads past the dict that was made of them.
                refused.steps[-1] = f".{refused.steps[-1][2:-2]}"
                refused.holders[-1] = id(value)
                raise

    def _enum(self, kind: type[enum.Enum]) -> Write:
        path = path_of(kind)

        def write(value: Any, out: bytearray, depth: int) -> None:
            # A flag may be a combination that has no name; other members are their names.
            name: Any = value.name
            start = begin(out, codes.ENUM)
            self.items((path, name if name in kind.__members__ else value.value), out, depth)
            end(out, start)

        return write

    def _pickling(self, listed: type) -> Write:
        name = self._pickled[listed]

        def write(value: Any, out: bytearray, depth: int) -> None:
            try:
                data = pickle.dumps(value, protocol=5)
            except Exception as error:
                raise Refused(
                    f"is a {type(value).__qualname__} that pickle refuses ({error})", "take it off the list"
                ) from error
            body = encode((name, checked(data)))
            out += head(codes.PICKLED, len(body))
            out += body

        return write


def _fix(kind: type) -> str:
    for known in (str, int, float, bytes, list, tuple, dict, set, datetime, date):
        if issubclass(kind, known):
            return f"convert it to {known.__name__}, or list its class in Checkpoints(pickle=...)"
    return (
        "make it a dataclass, a msgspec.Struct or an attrs class, keep it out of the state, or list its class "
        "in Checkpoints(pickle=...)"
    )
