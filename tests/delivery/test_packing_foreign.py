"""What other libraries' objects are in saved state: NumPy's arrays and scalars, Pydantic's models."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.core import StateCorrupt, StateError, StateMismatch
from reactor.delivery import Packing
from reactor.delivery.packing import codes
from tests.delivery.values import values
from tests.engine.graphs import TIME, examples

pytestmark = TIME
PACKING = Packing()


def again(value: Any) -> Any:
    return Packing().unpack(PACKING.pack(value))


# NumPy -------------------------------------------------------------------------------------------------------

RECORDS = np.dtype([("a", "<i4", (2,)), ("b", [("c", ">f8"), ("d", "S3")])])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=">i2").reshape(2, 3).T,
        np.arange(10)[::3],
        np.array(5),
        np.zeros((0, 3), np.float32),
        np.array([True, False]),
        np.array(["a", "bcd"]),
        np.array([b"a", b"bcd"]),
        np.array(["2025-01-01", "NaT"], "M8[us]"),
        np.array([1 + 2j, np.nan]),
        np.zeros(3, RECORDS),
        np.zeros(3, np.dtype({"names": ["a"], "formats": ["<i4"], "offsets": [4], "itemsize": 12})),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_are_what_they_were(array: Any) -> None:
    found = again({"a": (array,)})["a"][0]
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    found[...] = found  # it can be written to


@pytest.mark.parametrize(
    "scalar",
    [
        *(
            np.float64(1.5),
            np.float32("nan"),
            np.int8(-3),
            np.uint64(2**64 - 1),
            np.bool_(True),
            np.complex64(1j),
        ),
        *(
            np.str_("text"),
            np.str_(""),
            np.bytes_(b"raw"),
            np.datetime64("2025-01-01T00", "h"),
            np.timedelta64(5, "s"),
        ),
        np.zeros((), RECORDS)[()],
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_scalars_are_what_they_were(scalar: Any) -> None:
    found = again([scalar])[0]
    assert type(found) is type(scalar)
    assert (found.dtype, found.tobytes()) == (scalar.dtype, scalar.tobytes())


def test_a_scalar_is_the_key_that_it_equals() -> None:
    for scalar in (
        np.int64(1),
        np.float32(1),
        np.float64(0.1),
        np.bool_(True),
        np.str_("a"),
        np.complex128(1j),
    ):
        data, value = PACKING.row((scalar, "b"), 5)
        assert data == PACKING.key((scalar.item(), "b"))
        found, _ = PACKING.unrow(data, value)
        assert type(found[0]) is type(scalar)
        assert found == (scalar, "b")
    with pytest.raises(
        StateError, match=r"can't save key\[0\]: it is a numpy.datetime64, .*; use as key what"
    ):
        PACKING.key((np.datetime64("2025-01-01"),))
    with pytest.raises(StateError, match="not even itself"):
        PACKING.key(np.float64("nan"))


class Marked(np.ndarray[Any, Any]):
    pass


def test_arrays_that_hold_more_are_refused() -> None:
    with pytest.raises(
        StateError, match=r"value\[0\]: it is an array of the type object, which holds Python"
    ):
        PACKING.pack([np.array([object()])])
    with pytest.raises(StateError, match="Marked, which has no encoding"):
        PACKING.pack(np.zeros(3).view(Marked))


@examples(1)
@given(st.sampled_from((codes.ARRAY, codes.SCALAR)), values, values, st.binary(max_size=16))
def test_parts_of_an_array_that_do_not_fit_are_damage(
    code: int, descr: Any, shape: Any, content: bytes
) -> None:
    body = PACKING.pack([descr, shape, content])[1:]
    with suppress(StateError):
        PACKING.unpack(b"\x01" + codes.head(code, len(body)) + body)


@pytest.mark.parametrize(
    "parts",
    [
        ("|O", [1], bytes(8)),
        ("<f8", [2], bytes(8)),
        ("<f8", [-1], bytes(8)),
        ("<f8", [-1, -1], bytes(8)),
        ("<f8", [1 << 62, 0, 1.0], b""),
        ("<f8", 1, bytes(8)),
        ([["a", "<f8"], ["a", "<f8"]], [1], bytes(16)),
    ],
)
def test_an_array_that_was_never_written_is_damage(parts: Any) -> None:
    body = msgspec.msgpack.encode(parts)
    with pytest.raises(StateCorrupt):
        PACKING.unpack(b"\x01" + codes.head(codes.ARRAY, len(body)) + body)


def test_what_is_not_in_use_is_not_imported() -> None:
    program = (
        "import sys\n"
        "from reactor.delivery import Packing\n"
        "Packing().unpack(Packing().pack([1, (2,), {3}]))\n"
        "try:\n"
        "    Packing().pack(print)\n"
        "except Exception:\n"
        "    pass\n"
        "print([name for name in ('numpy', 'pydantic', 'attr', 'datasketches') if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


# Pydantic ----------------------------------------------------------------------------------------------------


class Item(pydantic.BaseModel):
    sku: str
    amount: int = 1


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    id: Any
    items: list[Item] = []
    note: str = pydantic.Field(default="", alias="remark")
    _seen: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("id")
    @classmethod
    def twice(cls, value: Any) -> Any:
        return value * 2


class Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    a: Any
    b: Any = 2


class Tagged(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    a: Any
    _tag: int = 1


def test_models_are_what_they_were_without_being_validated_again() -> None:
    order = Order(id=(1,), items=[Item(sku="a")], remark="x", other=(1, 2))
    order._seen = 3
    found = again({"a": [order]})["a"][0]
    assert found == order
    assert found.id == (1, 1)
    assert found._seen == 3
    assert found.other == (1, 2)
    assert found.model_fields_set == order.model_fields_set
    assert found.items[0].model_fields_set == {"sku"}
    assert repr(found) == repr(order)


def test_a_frozen_model_is_a_key() -> None:
    assert PACKING.key(Frozen(a=1)) == PACKING.key(Frozen(a=1.0, b=2)) != PACKING.key(Frozen(a=2))
    row = PACKING.row((Frozen(a=1.0), "x"), 5)
    assert PACKING.unrow(*row) == ((Frozen(a=1.0), "x"), 5)
    with pytest.raises(StateError, match="is a Tagged with extra or private attributes"):
        PACKING.key(Tagged(a=1))


def test_a_model_that_changed_since_is_read_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = PACKING.pack(Frozen(a=1))
    module = sys.modules[__name__]

    class More(pydantic.BaseModel):
        a: Any
        b: Any
        c: list[int] = pydantic.Field(default_factory=list)

    class Needed(pydantic.BaseModel):
        a: Any
        b: Any
        c: int

    class Less(pydantic.BaseModel):
        a: Any

    for now in (More, Needed, Less):
        now.__qualname__ = "Frozen"
    monkeypatch.setattr(module, "Frozen", More)
    assert Packing().unpack(data) == More(a=1, b=2)
    monkeypatch.setattr(module, "Frozen", Needed)
    with pytest.raises(StateMismatch, match="saved without c, a field without a default"):
        Packing().unpack(data)
    monkeypatch.setattr(module, "Frozen", Less)
    with pytest.raises(StateMismatch, match="saved with b, which the class has no more"):
        Packing().unpack(data)
