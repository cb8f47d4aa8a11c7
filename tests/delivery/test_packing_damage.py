"""Bytes that are damaged, or that somebody else has written: an error of the state, and no code that runs."""

from __future__ import annotations

import decimal
import importlib.readers  # noqa: F401 - zoneinfo imports it at its first look into the package tzdata
import io
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor.core import StateCorrupt, StateError, StateMismatch
from reactor.delivery import Packing
from reactor.delivery.packing import codes
from reactor.delivery.packing.plain import checked
from tests.delivery.test_packing_classes import Old
from tests.delivery.values import hashables, values
from tests.engine.graphs import TIME, examples

pytestmark = TIME
PACKING = Packing()
encode = msgspec.msgpack.encode

_heard: list[str] | None = None
_RUNS = ("import", "pickle.find_class", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "exec")


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    # Time zones are looked for in the package tzdata, too.
    if _heard is not None and event.startswith(_RUNS) and "tzdata" not in str(arguments):
        _heard.append(f"{event}{arguments}")


sys.addaudithook(_listen)


@contextmanager
def nothing_runs() -> Iterator[None]:
    global _heard
    heard = _heard = []
    try:
        yield
    finally:
        _heard = None
    assert not heard


def read(data: bytes) -> None:
    with nothing_runs():
        with suppress(StateError):
            PACKING.unpack(data)
        with suppress(StateError):
            PACKING.unrow(data, data)


def extension(code: int, *parts: Any) -> bytes:
    body = encode(list(parts))
    return b"\x01" + codes.head(code, len(body)) + body


@examples(4)
@given(st.binary(max_size=64))
@example(b"")
@example(b"\x01")
@example(b"\x01\xdd\xff\xff\xff\xff")
@example(b"\x01\xc9\xff\xff\xff\xff\x01")
@example(b"\x01" + b"\x91" * 100_000)
@example(b"\x01\xd6\xff\x00\x00\x00\x01")
def test_any_bytes_are_a_value_or_an_error_of_the_state(data: bytes) -> None:
    read(data)
    read(b"\x01" + data)


@examples(1.5)
@given(st.integers(0, 127), values)
def test_any_value_behind_any_code_is_one_or_an_error(code: int, value: Any) -> None:
    body = PACKING.pack(value)[1:]
    read(b"\x01" + codes.head(code, len(body)) + body)
    read(b"\x01" + codes.head(code, len(body) + 1) + b"\x91" + body)
    read(b"\x01" + codes.head(code, len(body) + 2) + b"\x92\x01" + body)


@examples(1.5)
@given(values, st.data())
def test_truncated_and_flipped_bytes_are_a_value_or_an_error(value: Any, data: st.DataObject) -> None:
    packed = PACKING.pack(value)
    for _ in range(4):
        broken = bytearray(packed)
        place = data.draw(st.integers(0, len(packed) - 1))
        broken[place] ^= 1 << data.draw(st.integers(0, 7))
        read(bytes(broken))
        with nothing_runs(), pytest.raises(StateError):
            PACKING.unpack(packed[:place])
    with pytest.raises(StateCorrupt):
        PACKING.unpack(packed + b"\x00")


@examples(1)
@given(hashables, values, st.data())
def test_damaged_rows_are_a_value_or_an_error(key: Any, value: Any, data: st.DataObject) -> None:
    try:
        rows = PACKING.row(key, value)
    except StateError:
        return  # a nan
    place = data.draw(st.integers(0, len(rows[1]) - 1))
    broken = bytearray(rows[1])
    broken[place] ^= 1 << data.draw(st.integers(0, 7))
    for one in (bytes(broken), rows[1][:place]):
        with nothing_runs():
            with suppress(StateError):
                PACKING.unrow(rows[0], one)


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            extension(codes.OBJECT, "os:system", ["command"], ["true"]),
            "class os:system was saved, and there is no su",
        ),
        (extension(codes.OBJECT, "antigravity:A", [], []), "import antigravity before the pipeline starts"),
        (
            extension(codes.OBJECT, "subprocess:Popen", ["args"], ["true"]),
            "isn't a class with declared fields now",
        ),
        (extension(codes.OBJECT, "builtins:object", [], []), "isn't a class with declared fields now"),
        (extension(codes.OBJECT, "os", [], []), "there is no such class now"),
        (extension(codes.OBJECT, "os:path.join", [], []), "there is no such class now"),
        (extension(codes.OBJECT, "", [], []), "there is no such class now"),
        (extension(codes.OBJECT, "os:__dict__.system", [], []), "there is no such class now"),
        (extension(codes.ENUM, "subprocess:Popen", "true"), "isn't an Enum now"),
        (extension(codes.ENUM, "re:RegexFlag", "A.__class__"), "had a member 'A.__class__'"),
        (extension(codes.ENUM, "re:RegexFlag", "__class__"), "had a member '__class__'"),
        (
            extension(codes.PICKLED, f"{__name__}:Bomb", b"\0\0\0\0" + pickle.dumps(Bomb())),
            "list the class in Check",
        ),
    ],
    ids=range(12),
)
def test_names_in_the_bytes_lead_to_classes_with_fields_and_to_nothing_else(
    data: bytes, message: str
) -> None:
    with nothing_runs(), pytest.raises(StateMismatch, match=message):
        PACKING.unpack(data)


def test_a_module_that_makes_its_names_when_asked_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = type(sys)("lazy")
    module.__getattr__ = lambda name: pytest.fail("asked")
    monkeypatch.setitem(sys.modules, "lazy", module)
    with pytest.raises(StateMismatch):
        PACKING.unpack(extension(codes.OBJECT, "lazy:Order", [], []))


@pytest.mark.parametrize(
    "data",
    [
        extension(codes.DEQUE, 1, [1, 2]),
        extension(codes.DICT, 1, 2, 3),
        extension(codes.DICT, [], 1),
        extension(codes.SET, []),
        extension(codes.FRACTION, 1, 0),
        extension(codes.FRACTION, "1e999999999", 1),
        extension(codes.TIMEDELTA, 1, 2),
        extension(codes.TIMEDELTA, 1.5, 2, 3),
        extension(codes.RANGE, 1, 2, 0),
        extension(codes.DEFAULT, "exec", []),
        extension(codes.COMPLEX),
        extension(codes.DATETIME),
        extension(codes.PATH, "Path", "a"),
        extension(codes.OBJECT, f"{__name__}:Bomb"),
        extension(codes.OBJECT, "reactor:Record", ["value"], []),
        extension(codes.OBJECT, "reactor:Record", ["value"], [1], 5),
        extension(codes.OBJECT, 5, ["value"], [1]),
        extension(codes.KEYED, 1, 2),
        extension(codes.INSTANT, 1),
        extension(99),
        b"\x01" + codes.head(codes.DECIMAL, 3) + b"abc",
        b"\x01" + codes.head(codes.TEXT, 1) + b"\xff",
        b"\x01" + codes.head(codes.SKETCH, 8) + bytes(8),
        b"\x00\x01",
        b"\xff",
        b"",
    ],
    ids=lambda data: data[:12].hex(),
)
def test_what_does_not_fit_is_damage(data: bytes) -> None:
    with nothing_runs(), pytest.raises(StateCorrupt, match=r"damaged.*(savepoint|begin anew)"):
        PACKING.unpack(data)


def test_a_number_that_is_damaged_is_damage_whatever_the_application_traps() -> None:
    data = b"\x01" + codes.head(codes.DECIMAL, 3) + b"abc"
    with decimal.localcontext() as context, pytest.raises(StateCorrupt):
        context.clear_traps()
        PACKING.unpack(data)


def test_a_zone_that_this_machine_does_not_know_is_named() -> None:
    body = encode("Mars/Olympus")
    data = b"\x01" + codes.head(codes.ZONE, len(body)) + body
    with pytest.raises(StateMismatch, match=r"zone 'Mars/Olympus' was saved, .*; pip install tzdata"):
        PACKING.unpack(data)


def test_a_path_of_another_system_is_named() -> None:
    with pytest.raises(
        StateMismatch, match="a WindowsPath was saved, and this system has none; keep paths as str"
    ):
        PACKING.unpack(extension(codes.PATH, "WindowsPath", "C:/a"))


def test_a_newer_format_is_told_from_damage() -> None:
    with pytest.raises(
        StateMismatch, match="saved in format 2, by a newer reactor; this one reads format 1: update"
    ):
        PACKING.unpack(b"\x02\x01")
    with pytest.raises(StateMismatch, match="format 2"):
        PACKING.unrow(b"\x02\x01", b"\x02\x01")


def test_a_row_whose_pair_is_damaged_is_damage() -> None:
    body = encode([1, 2, 3])
    data = b"\x01\xc9" + (len(body)).to_bytes(4, "big") + bytes((codes.KEYED,)) + body
    with pytest.raises(StateCorrupt, match="a saved row is damaged"):
        PACKING.unrow(PACKING.key(1), data)


def test_a_pickle_that_holds_something_else_is_damage() -> None:
    buffer = io.BytesIO()
    pickle.dump("text", buffer, protocol=5)
    packing = Packing(pickle=(Old,))
    with pytest.raises(StateCorrupt, match="holds a str, not a Old"):
        packing.unpack(extension(codes.PICKLED, f"{Old.__module__}:Old", checked(buffer.getvalue())))
