"""Bytes to values."""

from __future__ import annotations

import decimal
import enum
import importlib
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from reactor.core import StateCorrupt, StateError, StateMismatch
from reactor.delivery.packing import codes
from reactor.delivery.packing.arrays import array_of
from reactor.delivery.packing.codes import MARK, Refused
from reactor.delivery.packing.models import found_shape
from reactor.delivery.packing.names import class_of, path_of
from reactor.delivery.packing.plain import FACTORIES, MOMENT, PATHS, TIME_OF_DAY, TWO_FLOATS, unchecked
from reactor.delivery.packing.shapes import Shape

Load = Callable[[str, int, Any], Any]
Read = Callable[[memoryview], Any]

_STRICT = decimal.Context(traps=[decimal.InvalidOperation])


class Reading:
    """Reads what Writing wrote; what it has learnt of a class it keeps."""

    def __init__(self, pickled: tuple[type, ...], load: Load | None) -> None:
        self._pickled = {path_of(kind): kind for kind in pickled}
        self._load = load
        self._shapes: dict[str, Shape] = {}
        self._decode: Callable[[Any], Any] = msgspec.msgpack.Decoder(ext_hook=self._extension).decode
        self._tuple: Read = msgspec.msgpack.Decoder(tuple, ext_hook=self._extension).decode
        self._reads: dict[int, Read] = {
            codes.TUPLE: self._tuple,
            codes.DICT: lambda data: dict(self._pairs(self._decode(data))),
            codes.SET: lambda data: set(self._tuple(data)),
            codes.FROZENSET: lambda data: frozenset(self._tuple(data)),
            codes.DEQUE: self._deque,
            codes.ORDERED: lambda data: OrderedDict(self._pairs(self._decode(data))),
            codes.DEFAULT: self._defaultdict,
            codes.COUNTER: lambda data: Counter(dict(self._pairs(self._decode(data)))),
            codes.INT: lambda data: int.from_bytes(data, "big", signed=True),
            codes.TEXT: lambda data: str(data, "utf-8", "surrogatepass"),
            codes.BYTEARRAY: bytearray,
            codes.COMPLEX: lambda data: complex(*TWO_FLOATS.unpack(data)),
            codes.DECIMAL: lambda data: Decimal(str(data, "ascii"), _STRICT),
            codes.FRACTION: lambda data: Fraction(*self._ints(data, 2)),
            codes.UUID: lambda data: UUID(bytes=bytes(data)),
            codes.DATETIME: self._datetime,
            codes.DATE: lambda data: date.fromordinal(self._decode(data)),
            codes.TIME: self._time,
            codes.TIMEDELTA: lambda data: timedelta(*self._ints(data, 3)),
            codes.ZONE: lambda data: self._zone(self._decode(data)),
            codes.RANGE: lambda data: range(*self._ints(data, 3)),
            codes.PATH: self._path,
            codes.ENUM: self._enum,
            codes.OBJECT: self._object,
            codes.PICKLED: self._unpickled,
            codes.SKETCH: self._sketch,
            codes.ARRAY: lambda data: array_of(*self._tuple(data)),
            codes.SCALAR: self._numpy_scalar,
            codes.UNSET: lambda data: msgspec.UNSET,
        }

    def read(self, data: bytes) -> Any:
        """Return the value behind the version; raise StateMismatch or StateCorrupt."""
        if data[:1] != MARK:
            raise _version(data)
        return self.decoded(data[1:])

    def decoded(self, data: Any) -> Any:
        """Return the value; raise StateMismatch or StateCorrupt."""
        try:
            return self._decode(data)
        except (StateError, MemoryError):
            raise
        except Exception as error:
            raise StateCorrupt(
                f"a saved value is damaged ({type(error).__name__}: {error}); restore a savepoint, or delete the "
                "checkpoint to begin anew"
            ) from error

    def _extension(self, code: int, data: memoryview) -> Any:
        read = self._reads.get(code)
        if read is None:
            raise ValueError(f"nothing is written with the code {code}")
        return read(data)

    # Containers -------------------------------------------------------------------------------------------------

    def _pairs(self, items: list[Any]) -> zip[tuple[Any, Any]]:
        return zip(items[::2], items[1::2], strict=True)

    def _ints(self, data: memoryview, count: int) -> tuple[int, ...]:
        found = self._tuple(data)
        if len(found) != count or not all(type(one) is int for one in found):
            raise ValueError(f"{count} ints expected")
        ints: tuple[int, ...] = found
        return ints

    def _deque(self, data: memoryview) -> Any:
        limit, items = self._decode(data)
        if limit is not None and len(items) > limit:
            raise ValueError("more items than the deque takes")
        return deque(items, limit)

    def _defaultdict(self, data: memoryview) -> Any:
        name, items = self._decode(data)
        return defaultdict(None if name is None else FACTORIES[name], self._pairs(items))

    # One thing --------------------------------------------------------------------------------------------------

    def _datetime(self, data: memoryview) -> datetime:
        year, month, day, hour, minute, second, part, fold = MOMENT.unpack(data[: MOMENT.size])
        zone = self._zone_behind(data, MOMENT.size)
        return datetime(year, month, day, hour, minute, second, part, zone, fold=fold)

    def _time(self, data: memoryview) -> time:
        hour, minute, second, part, fold = TIME_OF_DAY.unpack(data[: TIME_OF_DAY.size])
        return time(hour, minute, second, part, self._zone_behind(data, TIME_OF_DAY.size), fold=fold)

    def _zone_behind(self, data: memoryview, size: int) -> tzinfo | None:
        return self._zone(self._decode(data[size:])) if len(data) > size else None

    def _zone(self, zone: Any) -> tzinfo:
        if type(zone) is str:
            try:
                return ZoneInfo(zone)
            except Exception as error:
                raise StateMismatch(
                    f"a time in the zone {zone!r} was saved, and this machine doesn't know it ({error}); "
                    "pip install tzdata"
                ) from error
        microseconds, *name = zone if type(zone) is list else [zone]
        return timezone(timedelta(microseconds=microseconds), *name)

    def _path(self, data: memoryview) -> Any:
        name, text = self._tuple(data)
        try:
            return PATHS[name](text)
        except NotImplementedError as error:
            raise StateMismatch(
                f"a {name} was saved, and this system has none; keep paths as str, or as PurePath"
            ) from error

    def _sketch(self, data: memoryview) -> Any:
        content = unchecked(bytes(data))
        try:
            sketches: Any = importlib.import_module("datasketches")
        except ImportError as error:
            raise StateMismatch(
                'a sketch of a quantile was saved; pip install "reactor-streams[sketches]" to read it'
            ) from error
        return sketches.kll_doubles_sketch.deserialize(content)

    def _numpy_scalar(self, data: memoryview) -> Any:
        return array_of(*self._tuple(data))[()]

    # Classes ----------------------------------------------------------------------------------------------------

    def _shape(self, path: str) -> Shape:
        shape = self._shapes.get(path)
        if shape is None:
            kind = class_of(path)
            try:
                shape = None if issubclass(kind, enum.Enum) else found_shape(kind)
            except Refused as refused:
                raise StateMismatch(
                    f"an object of {path} was saved; now it {refused.what}; {refused.fix}"
                ) from refused
            if shape is None:
                raise StateMismatch(
                    f"an object of {path} was saved, and that isn't a class with declared fields now; "
                    "make it a dataclass, a msgspec.Struct or an attrs class"
                )
            self._shapes[path] = shape
        return shape

    def _object(self, data: memoryview) -> Any:
        tag, names, values, *more = self._decode(data)
        besides = more[0] if more else {}
        if type(tag) is str:
            path, name, version = tag, None, 1
        else:
            path, name, version = tag
        load = self._load
        fields: dict[str, Any]
        try:
            shape = self._shape(path)
        except StateMismatch:
            # The class may have been moved: its contract's name is the same.
            if name is None or load is None:
                raise
            fields = dict(zip(names, values, strict=True))
            return self._loaded(load, path, name, version, fields)
        contract = shape.contract
        renamed = contract is not None and name is not None and name not in contract.names
        if contract is None or (version == contract.version and not renamed):
            return shape.put(names, values, besides)
        upcasting: Load = lambda name, version, plain: contract.load(plain, version)  # noqa: E731
        if renamed and load is not None:
            upcasting = load
        config: Any = getattr(shape.kind, "__struct_config__", None)
        fields = dict(zip(names, values, strict=True))
        if config is not None and config.tag is not None:
            fields[config.tag_field] = config.tag
        return self._loaded(upcasting, path, contract.name if name is None else name, version, fields)

    def _loaded(self, load: Load, path: str, name: str, version: int, fields: dict[str, Any]) -> Any:
        try:
            # Upcasters are written for payloads: plain values, as JSON has them.
            plain = msgspec.to_builtins(fields, str_keys=True)
        except Exception:
            plain = fields
        try:
            return load(name, version, plain)
        except Exception as error:
            raise StateMismatch(
                f"an object of {path} was saved as {name}, version {version}, and can't be read now: {error}"
            ) from error

    def _enum(self, data: memoryview) -> Any:
        path, name = self._tuple(data)
        kind = class_of(path)
        if not issubclass(kind, enum.Enum):
            raise StateMismatch(f"a member of {path} was saved, and that isn't an Enum now; make it one")
        if type(name) is str and name in kind.__members__:
            return kind.__members__[name]
        if issubclass(kind, enum.Flag) and type(name) is int:
            try:
                return kind(name)
            except ValueError:
                pass
        raise StateMismatch(
            f"{path} had a member {name!r} when it was saved; give it that name again, as an alias: "
            f"{name} = {kind.__name__}.WHAT_IT_IS_NOW.value"
        )

    def _unpickled(self, data: memoryview) -> Any:
        path, content = self._tuple(data)
        kind = self._pickled.get(path)
        if kind is None:
            raise StateMismatch(
                f"an object of {path} was saved by pickle; list the class in Checkpoints(pickle=...) to read it"
            )
        found = unchecked(content)
        try:
            value = pickle.loads(found)
        except Exception as error:
            raise StateMismatch(
                f"an object of {path} was saved by pickle, and pickle can't read it now "
                f"({type(error).__name__}: {error}); keep the classes that it consists of where they were"
            ) from error
        if not isinstance(value, kind):
            raise ValueError(f"the pickle holds a {type(value).__qualname__}, not a {kind.__qualname__}")
        return value


def _version(data: bytes) -> StateError:
    if data and codes.VERSION < data[0] <= codes.NEWEST:
        return StateMismatch(
            f"a value was saved in format {data[0]}, by a newer reactor; this one reads format {codes.VERSION}: "
            "update it, or restore a savepoint that it wrote"
        )
    begins = f"begins with {data[:4].hex(' ')}" if data else "is empty"
    return StateCorrupt(f"a saved value is damaged: it {begins}; restore a savepoint, or begin anew")
