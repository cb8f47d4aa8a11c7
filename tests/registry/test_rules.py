"""Compatibility: the specification's rules of Avro, beside Apache's own checker; Protobuf's; JSON Schema's."""

import json
import random
from typing import Any

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse

from reactor.registry import LEVELS, SchemaText, clashes
from reactor.registry.rules import avro, protobuf


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [*fields], **more}


def field(name: str, type: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


E_AB: dict[str, Any] = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
E_ABC: dict[str, Any] = {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}

# https://avro.apache.org/docs/1.12.0/specification/#schema-resolution: writer, reader, whether it reads.
RESOLUTION: list[tuple[Any, Any, bool]] = [
    ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}, True),
    ({"type": "array", "items": "string"}, {"type": "array", "items": "long"}, False),
    ({"type": "map", "values": "int"}, {"type": "map", "values": "double"}, True),
    (E_AB, E_ABC, True),
    (E_ABC, E_AB, False),
    (E_ABC, {**E_AB, "default": "A"}, True),
    ({**E_AB, "name": "F"}, E_AB, False),
    ({"type": "fixed", "name": "F", "size": 4}, {"type": "fixed", "name": "F", "size": 4}, True),
    ({"type": "fixed", "name": "F", "size": 4}, {"type": "fixed", "name": "F", "size": 5}, False),
    # "the ordering of fields may be different"
    (record(field("a", "int"), field("b", "int")), record(field("b", "int"), field("a", "int")), True),
    # "if the writer's record contains a field with a name not present in the reader's record, ... ignored"
    (record(field("a", "int"), field("b", "int")), record(field("a", "int")), True),
    # "if the reader's record schema has a field that contains a default value ..., and writer's ... does not"
    (record(field("a", "int")), record(field("a", "int"), field("b", "int", default=1)), True),
    (record(field("a", "int")), record(field("a", "int"), field("b", "int")), False),
    (record(field("a", "int")), record(field("b", "int", aliases=["a"])), True),
    (record(field("a", "int")), record(field("a", "int"), name="S"), False),
    (record(field("a", "int")), record(field("a", "int"), name="S", aliases=["R"]), True),
    (["int", "string"], ["string", "int"], True),
    (["int", "string"], "int", False),
    ("int", ["null", "long"], True),
    ("string", ["null", "int"], False),
    (["null", "int"], ["null", "int", "string"], True),
    ({"type": "long", "logicalType": "timestamp-micros"}, "long", True),
    (record(field("next", ["null", "R"])), record(field("next", ["null", "R"])), True),
    *[
        (one, other, other in {one, *reads})
        for one, reads in {
            "int": ("long", "float", "double"),
            "long": ("float", "double"),
            "float": ("double",),
            "double": (),
            "string": ("bytes",),
            "bytes": ("string",),
            "boolean": (),
            "null": (),
        }.items()
        for other in ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
    ],
]


@pytest.mark.parametrize(("writer", "reader", "reads"), RESOLUTION)
def test_schema_resolution(writer: Any, reader: Any, reads: bool) -> None:
    assert (not avro.reads(json.dumps(writer), json.dumps(reader))) is reads
    assert _apache(writer, reader) is reads


def _apache(writer: Any, reader: Any) -> bool:
    found = ReaderWriterCompatibilityChecker().get_compatibility(
        parse(json.dumps(reader)), parse(json.dumps(writer))
    )
    return found.compatibility is SchemaCompatibilityType.compatible


def test_apaches_checker_says_the_same_of_random_schemas() -> None:
    dice = random.Random(5)
    said = {True: 0, False: 0}
    for _ in range(3000):
        writer, reader = (record(*_fields(dice, 2)) for _ in range(2))
        ours = not avro.reads(json.dumps(writer), json.dumps(reader))
        assert ours is _apache(writer, reader), (writer, reader)
        said[ours] += 1
    assert min(said.values()) > 200


def _fields(dice: random.Random, depth: int) -> list[Any]:
    found = []
    for name in dice.sample("ab", dice.choice((1, 1, 2))):
        more = {"default": None} if dice.random() < 0.4 else {}
        type = _type(dice, depth, name)
        found.append(field(name, ["null", type] if more and type != "null" else type, **more))
        if more and type == "null":
            found[-1]["default"] = None
    return found


def _type(dice: random.Random, depth: int, name: str) -> Any:
    kinds = ["int", "long", "double", "int", "long", "string", "enum", "null"]
    match dice.choice([*kinds, "array", "record", "map"] if depth else kinds):
        case "array":
            return {"type": "array", "items": _type(dice, depth - 1, f"{name}i")}
        case "map":
            return {"type": "map", "values": _type(dice, depth - 1, f"{name}v")}
        case "record":
            inner = [{**one, "name": one["name"]} for one in _flat(dice)]
            return record(*inner, name=f"R{name}")
        case "enum":
            symbols = sorted(dice.sample("XYZ", dice.choice((2, 3))))
            more = {"default": symbols[0]} if dice.random() < 0.3 else {}
            return {"type": "enum", "name": f"E{name}", "symbols": symbols, **more}
        case plain:
            return plain


def _flat(dice: random.Random) -> list[Any]:
    return [
        field(name, dice.choice(("int", "long", "string"))) for name in dice.sample("xy", dice.choice((1, 2)))
    ]


def test_the_field_and_the_fix_are_named() -> None:
    (finding,) = avro.reads(
        json.dumps(record(field("l", {"type": "array", "items": record(name="L")}))),
        json.dumps(record(field("l", {"type": "array", "items": record(field("p", "int"), name="L")}))),
    )
    assert str(finding) == "$.l[].p: isn't written, and the reader has no default; give it one"


ONE = 'syntax = "proto3"; message A { int64 a = 1; string b = 2; repeated int32 c = 3; }'


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (
            'syntax = "proto3"; message A { int64 a = 1; string b = 2; repeated int32 c = 3; bool d = 4; }',
            None,
        ),
        ('syntax = "proto3"; message A { uint32 other = 1; bytes b = 2; }', None),
        ('syntax = "proto3"; message A { string a = 1; }', "A.a: number 1 is int64, not string"),
        ('syntax = "proto3"; message A { int64 a = 1; string b = 2; int32 c = 3; }', "is a list in only one"),
        ('syntax = "proto3"; message B { int64 a = 1; }', "A: is a message that the reader hasn't"),
        (
            'syntax = "proto2"; message A { required int64 x = 9; }',
            "A.x: isn't written, and the reader requires",
        ),
        (
            'syntax = "proto3"; message A { oneof x { int64 a = 1; string b = 2; } }',
            "is a oneof of fields",
        ),
        ('syntax = "proto3"; message A { oneof x { int64 a = 1; } }', None),
    ],
)
def test_protobuf(other: str, why: str | None) -> None:
    found = [str(one) for one in protobuf.reads(ONE, other)]
    assert bool(found) is (why is not None)
    assert why is None or why in found[0]


OLD = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'
MORE = '{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a","b"]}'


@pytest.mark.parametrize("level", LEVELS)
def test_levels_say_who_reads_whom_and_which_versions_count(level: Any) -> None:
    old, more = SchemaText("JSON", OLD), SchemaText("JSON", MORE)
    ways = {clash.way for clash in clashes(more, [(1, old)], level)}
    assert ways == ({"backward"} if level.startswith(("BACKWARD", "FULL")) else set())
    ways = {clash.way for clash in clashes(old, [(1, more)], level)}
    assert ways == ({"forward"} if level.startswith(("FORWARD", "FULL")) else set())
    versions = {clash.version for clash in clashes(more, [(1, old), (2, more)], level)}
    assert versions == ({1} if level in ("BACKWARD_TRANSITIVE", "FULL_TRANSITIVE") else set())


def test_another_format_goes_with_none() -> None:
    (clash,) = clashes(SchemaText("AVRO", '"int"'), [(1, SchemaText("JSON", OLD))], "BACKWARD")
    assert "is JSON, and the new version is AVRO; give it another subject" in str(clash)
