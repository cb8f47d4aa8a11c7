"""Saved state is what it was, in type and value; what can't be saved is named, with the way to it."""

from __future__ import annotations

import gc
import io
import itertools
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import datasketches
import msgspec
import pytest
from hypothesis import example, given

from reactor.core import Record, StateError, StateMismatch
from reactor.delivery import Packing
from tests.delivery.values import (
    Basket,
    Cart,
    Colour,
    Fixed,
    Line,
    Order,
    Point,
    Rights,
    same,
    values,
)
from tests.engine.graphs import TIME, examples

pytestmark = TIME
PACKING = Packing()


@examples(1.5)
@given(values)
@example((1, [2, (3,)], {"a": (4,)}))
@example([True, 1, 1.0, -0.0, float("nan")])
@example({1: "int", "1": "text", None: "none", b"1": "bytes", (1,): "tuple"})
@example(2**64)
@example([-(2**63) - 1, 2**64 - 1, -(2**63)])
@example(["\ud800"])
@example({"\ud800": 1})
@example(tuple(range(300)))
@example([()] * 20)
@example({str(n): () for n in range(20)})
@example([()] * 70_000)
@example([("x" * 300,)])
@example(deque([(1,), (2,)], 2))
@example(datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
@example(Record((1, 2), "key", {"a": "b"}, 1, 2, "topic", b"raw"))
def test_what_is_unpacked_is_what_was_packed(value: Any) -> None:
    data = PACKING.pack(value)
    assert data[:1] == b"\x01"
    assert same(Packing().unpack(data), value)


def test_the_order_of_a_dict_is_kept() -> None:
    value = {n: (n,) for n in (3, 1, 2)} | {"b": 1, "a": 2}
    assert list(PACKING.unpack(PACKING.pack(value))) == list(value)


def test_a_default_dict_goes_on_as_one() -> None:
    found = PACKING.unpack(PACKING.pack(defaultdict(list, {1: [2]})))
    found["new"].append(1)
    assert found == {1: [2], "new": [1]}


def test_a_deque_that_is_full_drops_from_its_other_end() -> None:
    found = PACKING.unpack(PACKING.pack(deque([1, 2], 2)))
    found.append(3)
    assert list(found) == [2, 3]


def test_utc_is_the_one_that_there_is() -> None:
    assert PACKING.unpack(PACKING.pack(datetime(2025, 1, 1, tzinfo=UTC))).tzinfo is UTC


def test_a_sketch_of_a_quantile_goes_on() -> None:
    sketch = datasketches.kll_doubles_sketch(200)
    for number in range(1000):
        sketch.update(float(number))
    found = PACKING.unpack(PACKING.pack({"a": (sketch,)}))["a"][0]
    assert found.serialize() == sketch.serialize()
    found.update(1.0)
    assert found.n == sketch.n + 1
    del found, sketch
    gc.collect()


def test_threads_may_share_it() -> None:
    packing = Packing()
    failures: list[Any] = []

    def work(number: int) -> None:
        for n in range(300):
            value = (number, [Line(n), Order((n,)), Point(1, Cart(n))])
            if packing.unpack(packing.pack(value)) != value:
                failures.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# What is refused --------------------------------------------------------------------------------------------


class Plain:
    def __repr__(self) -> str:
        return "<plain>"


class Text(str):
    pass


class Odd(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            Plain(),
            r"can't save value: it is a \S+test_packing\.Plain, which has no encoding; make it a dataclass",
        ),
        ({"a": [1, (2, Plain())]}, r"can't save value\['a'\]\[1\]\[1\]: it is a "),
        ({"a": 1, "b": {2: Plain()}}, r"can't save value\['b'\]\[2\]: "),
        ({Plain(): 1}, r"can't save value \(key <plain>\): "),
        ({1, Plain()}, r"can't save value \(item <plain>\): "),
        (Basket([Line(1), Line(Plain())]), r"can't save value\.items\[1\]\.sku: "),
        (Order(1, deque([Plain()])), r"can't save value\.lines\[0\]: "),
        (Cart(1, Point(1, Plain())), r"can't save value\._held\.y: "),
        (Record(Plain()), r"can't save value\.value: "),
        (
            Text("a"),
            r"it is a \S+\.Text, which has no encoding; convert it to str, or list its class in Checkp",
        ),
        (Counter({Plain(): 1}), r"value \(key <plain>\)"),
        (
            defaultdict(lambda: 1),
            r"it is a defaultdict of <function .*; only list, dict, .* use a dict and setdef",
        ),
        (defaultdict(list, {1: {2: Plain()}}), r"value\[1\]\[2\]"),
        (
            [datetime(2025, 1, 1, tzinfo=Odd())],
            r"value\[0\]: it has the time zone <odd>, .* use datetime.UTC, ",
        ),
        (time(1, tzinfo=Odd()), r"value: it has the time zone <odd>"),
        (print, r"it is a builtins.builtin_function_or_method, which has no encoding"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_encoding_is_named_with_the_way_to_it_and_the_fix(value: Any, message: str) -> None:
    for _ in range(2):
        with pytest.raises(StateError, match=message):
            PACKING.pack(value)
        with pytest.raises(StateError, match=message):
            PACKING.row("key", value)


def test_an_attribute_besides_the_fields_is_named_too() -> None:
    basket = Basket([1])
    basket.lock = Plain()  # type: ignore[attr-defined]
    with pytest.raises(StateError, match=r"can't save value\[0\]\.lock: it is a "):
        PACKING.pack([basket])


def test_a_zone_without_a_name_is_refused() -> None:
    data = resources.files("tzdata.zoneinfo.Europe").joinpath("Berlin").read_bytes()
    with pytest.raises(StateError, match="of which only this process knows"):
        PACKING.pack(datetime(2025, 1, 1, tzinfo=ZoneInfo.from_file(io.BytesIO(data))))


def _cycles() -> list[Any]:
    looped: list[Any] = [1]
    looped.append((2, {"a": looped}))
    mapped: dict[Any, Any] = {}
    mapped["self"] = mapped
    order = Order(1)
    order.lines = [order]
    basket: Basket[Any] = Basket([])
    basket.total = (basket,)
    attached: Basket[Any] = Basket([])
    attached.parent = attached  # type: ignore[attr-defined]
    return [looped, mapped, order, basket, attached]


@pytest.mark.parametrize(
    ("value", "again"),
    list(
        zip(
            _cycles(),
            (r"value[1][1]['a']", "value['self']", "value.lines[0]", "value.total[0]", "value.parent"),
            strict=True,
        )
    ),
    ids=("list", "dict", "struct", "dataclass", "attribute"),
)
def test_a_cycle_is_named(value: Any, again: str) -> None:
    with pytest.raises(StateError) as caught:
        PACKING.pack(value)
    assert f"it contains itself: {again} is value again" in str(caught.value)


def test_a_cycle_in_the_middle_is_named() -> None:
    inner: dict[str, Any] = {"up": []}
    inner["up"].append(inner)
    with pytest.raises(StateError) as caught:
        PACKING.pack((0, [inner]))
    text = str(caught.value)
    assert text.startswith(
        "can't save value[1][0]: it contains itself: value[1][0]['up'][0] is value[1][0] again"
    )


def nested(depth: int, wrap: Any) -> Any:
    value: Any = (1, ())
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: [value, ()],
        lambda value: (value, ()),
        lambda value: {"a": value},
        lambda value: {(1,): value},
        lambda value: deque([value]),
        lambda value: Basket([], value),
        lambda value: Order(value),
        Point,
        lambda value: frozenset((value,)),
    ],
)
def test_what_can_be_saved_can_be_read_however_deep_it_is(wrap: Any) -> None:
    value = nested(98, wrap)
    assert PACKING.unpack(PACKING.pack(value)) == value
    with pytest.raises(StateError, match="nested more than 100 deep; keep such values side by side"):
        PACKING.pack(nested(101, wrap))
    with pytest.raises(StateError, match="nested more than 100 deep"):
        PACKING.pack(nested(5000, wrap) if not isinstance(value, Point | frozenset) else nested(200, wrap))


def test_a_stack_that_is_nearly_full_is_an_error_of_the_state() -> None:
    value, failures = nested(90, lambda value: Basket([], value)), []

    def deeper() -> None:
        try:
            deeper()
        except RecursionError:
            for call in (PACKING.pack, lambda value: PACKING.row("key", value)):
                try:
                    call(value)
                except StateError as error:
                    failures.append(str(error))

    deeper()
    assert any("deeper than what is left of the stack" in text for text in failures)


def test_equal_packings_are_made_of_equal_bytes() -> None:
    value = {"a": (1, [Line(2)], Rights.READ)}
    assert Packing().pack(value) == Packing().pack(value)


# If this fails, saved state of users can't be read any more: give the encoding a new version.
FOR_EVER = [
    (None, "01c0"),
    (True, "01c3"),
    (-5, "01fb"),
    (2**64, "01c70909010000000000000000"),
    (2.5, "01cb4004000000000000"),
    ("text", "01a474657874"),
    ("\ud800", "01c7030aeda080"),
    (b"raw", "01c403726177"),
    (bytearray(b"raw"), "01c7030b726177"),
    ([1, "a"], "019201a161"),
    ((1, "a"), "01c704019201a161"),
    (((), [()]), "01c70a0192c701019091c7010190"),
    ({"a": 1}, "0181a16101"),
    ({(1,): 2}, "01c7070292c70201910102"),
    ({3}, "01c702039103"),
    (frozenset({3}), "01c702049103"),
    (deque([1], 2), "01c7040592029101"),
    (OrderedDict(a=1), "01c7040692a16101"),
    (defaultdict(list, a=[]), "01c70a0792a46c69737492a16190"),
    (Counter("a"), "01c7040892a16101"),
    (1 + 2j, "01c7100c3ff00000000000004000000000000000"),
    (Decimal("1.50"), "01c7040d312e3530"),
    (Fraction(1, 3), "01c7030e920103"),
    (UUID(int=1), "01c7100f00000000000000000000000000000001"),
    (datetime(2025, 1, 2, 3, 4, 5, 6), "01c70c1007e901020304050000000600"),  # noqa: DTZ001
    (datetime(2025, 1, 2, 3, 4, 5, 6, UTC), "01c70d1007e90102030405000000060000"),
    (
        datetime(2025, 1, 2, 3, 4, 5, 6, ZoneInfo("Europe/Berlin"), fold=1),
        "01c71a1007e901020304050000000601ad4575726f70652f4265726c696e",
    ),
    (date(2025, 1, 2), "01c70511ce000b47b5"),
    (time(3, 4, 5, 6, timezone(timedelta(hours=1), "CET")), "01c71212030405000000060092ced693a400a3434554"),
    (timedelta(1, 2, 3), "01c7041393010203"),
    (range(1, 9, 2), "01c7041593010902"),
    (PurePosixPath("/a"), "01c7121692ad50757265506f73697850617468a22f61"),
    (Colour.RED, "01c7221792bc74657374732e64656c69766572792e76616c7565733a436f6c6f7572a3524544"),
    (Rights.READ | Rights.WRITE, "01c71f1792bc74657374732e64656c69766572792e76616c7565733a52696768747303"),
    (Point(1, 2), "01c7251893bb74657374732e64656c69766572792e76616c7565733a506f696e7492a178a179920102"),
    (
        Line(1, 2),
        "01c72b1893ba74657374732e64656c69766572792e76616c7565733a4c696e6592a3736b75a6616d6f756e74920102",
    ),
    (
        Fixed(order_id=1),
        "01c7361893bb74657374732e64656c69766572792e76616c7565733a466978656492a86f726465725f6964ab637573746f6d65725f69649201c0",
    ),
    (
        Cart(1, 2),
        "01c72c1893ba74657374732e64656c69766572792e76616c7565733a4361727492a56f776e6572a55f68656c64920102",
    ),
    (
        Record(1),
        "01c7501893ae72656163746f723a5265636f726499a576616c7565a36b6579a768656164657273a474696d65a8706f736974696f6ea5746f706963a3726177a5706c616365a4706172749901c080c0c0c0c0c0c0",
    ),
    (msgspec.UNSET, "01c7001b"),
]


def test_what_was_saved_before_a_field_came_is_read() -> None:
    data = (
        "01c74a1893ae72656163746f723a5265636f726498a576616c7565a36b6579a768656164657273a4"
        "74696d65a8706f736974696f6ea5746f706963a3726177a5706c6163659801c080c0c0c0c0c0"
    )
    assert PACKING.unpack(bytes.fromhex(data)) == Record(1)


@pytest.mark.parametrize(("value", "data"), FOR_EVER, ids=str)
def test_the_bytes_stay_the_same_from_release_to_release(value: Any, data: str) -> None:
    assert PACKING.pack(value).hex() == data
    assert same(PACKING.unpack(bytes.fromhex(data)), value)


def test_records_from_before_they_had_a_place_are_read() -> None:
    data = (
        "01c7431893ae72656163746f723a5265636f726497a576616c7565a36b6579a768656164657273"
        "a474696d65a8706f736974696f6ea5746f706963a37261779701c080c0c0c0c0"
    )
    assert PACKING.unpack(bytes.fromhex(data)) == Record(1)


def test_a_class_of_a_script_is_found_when_the_script_runs_again(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from dataclasses import dataclass\n"
        "from reactor.delivery import Packing\n"
        "@dataclass\n"
        "class Order:\n"
        "    id: int\n"
        "if len(sys.argv) == 1:\n"
        "    print(Packing().pack(Order(7)).hex())\n"
        "else:\n"
        "    print(Packing().unpack(bytes.fromhex(sys.argv[1])))\n"
    )

    def run(*arguments: str) -> str:
        command = [sys.executable, str(script), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    data = run()
    assert run(data) == "Order(id=7)"
    with pytest.raises(StateMismatch, match=r"the class __main__:Order .* saved by a script that defined it"):
        PACKING.unpack(bytes.fromhex(data))


def test_a_large_value_is_packed_without_holding_it_several_times() -> None:
    value = [(n, "text") for n in range(50_000)]
    PACKING.pack(value[:10])
    tracemalloc.start()
    size = len(PACKING.pack(value))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * size


def test_unset_is_one_object() -> None:
    assert PACKING.unpack(PACKING.pack([msgspec.UNSET]))[0] is msgspec.UNSET


def test_named_zones_keep_their_names() -> None:
    for zone in (timezone(timedelta(hours=1), "CET"), timezone(timedelta(0), "GMT"), timezone(timedelta(0))):
        assert PACKING.unpack(PACKING.pack(zone)).tzname(None) == zone.tzname(None)


def test_headers_of_all_sizes_are_right() -> None:
    sizes = itertools.chain(range(14, 18), range(252, 260), (65_534, 65_535, 65_536))
    for size in sizes:
        for value in ([()] * size, tuple([None] * size), {str(n): () for n in range(size)}):
            assert PACKING.unpack(PACKING.pack(value)) == value
