"""NumPy's arrays and scalars: their type, shape and bytes. NumPy is imported only where it is in use."""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

from reactor.core import StateMismatch
from reactor.delivery.packing.codes import Refused


def is_array(kind: type) -> bool:
    """Tell whether it is NumPy's array, and no subclass: those hold more."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and kind is getattr(numpy, "ndarray", None)


def is_scalar(kind: type) -> bool:
    """Tell whether it is one of NumPy's scalars."""
    numpy: Any = sys.modules.get("numpy")
    generic: Any = getattr(numpy, "generic", None)
    return isinstance(generic, type) and issubclass(kind, generic)


def array_parts(value: Any) -> tuple[Any, ...]:
    """Return what an array, or a scalar, consists of; raise Refused for Python's objects in it."""
    dtype = value.dtype
    if dtype.hasobject:
        raise Refused(
            f"is an array of the type {dtype}, which holds Python's objects",
            "use a list, or an array of numbers or texts",
        )
    formats: Any = importlib.import_module("numpy.lib.format")
    return formats.dtype_to_descr(dtype), list(value.shape), value.tobytes() if dtype.itemsize else b""


def array_of(descr: Any, shape: list[int], data: bytes) -> Any:
    """Return the array; raise ValueError for parts that don't fit each other."""
    try:
        numpy: Any = importlib.import_module("numpy")
        formats: Any = importlib.import_module("numpy.lib.format")
    except ImportError as error:
        raise StateMismatch("an array of NumPy was saved; pip install numpy to read it") from error
    dtype = formats.descr_to_dtype(_tuples(descr))
    if dtype.hasobject or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("no such array was written")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of the shape {shape} has other than {len(data)} bytes")
    if not data:
        return numpy.zeros(shape, dtype)
    return numpy.frombuffer(bytearray(data), dtype).reshape(shape)


def _tuples(descr: Any) -> Any:
    """A type's fields are tuples in a list; what msgpack has of them are lists."""
    if type(descr) is not list:
        return descr
    return [(name, _tuples(kind), *map(tuple, shape)) for name, kind, *shape in descr]
