"""Texts of Protobuf as descriptors: what protoc makes of them, we make too; and back to text."""

import importlib
from pathlib import Path
from typing import Any

import grpc_tools
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from hypothesis import given

from reactor.contracts import Protobuf, protobuf_schema
from reactor.registry.descriptors import message_class, plain_of
from reactor.registry.printing import printed
from reactor.registry.proto import descriptor, serialized
from tests.contracts.rich import RICH, Rich
from tests.contracts.shops import OrderSettled
from tests.engine.graphs import examples

ALL = r"""
// A bit of everything.
syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import public "google/protobuf/wrappers.proto";
option java_package = "com.shop; // no comment";
/* a comment; with { braces */
message Order {
  option deprecated = true;
  reserved 4, 9 to 11, 100 to max;
  reserved "old", 'older';
  message Line { string sku = 1; Order.Kind kind = 2; .shop.v1.Order.Line of = 3; }
  enum Kind { option allow_alias = true; UNKNOWN = 0; NONE = 0; BIG = 0x4 [deprecated = true];
    reserved 5 to max; }
  string id = 1 [json_name = "ID", deprecated = true];
  repeated Line lines = 2;
  optional int64 amount = 3;
  oneof how { option (my.option) = { a: 1 }; Card card = 5; bytes cash = 6; }
  map<string, Line> by_name = 7;
  map<int32, Kind> kinds = 8;
  google.protobuf.Timestamp at = 12;
  google.protobuf.Int64Value none = 13;
  repeated sint32 numbers = 14 [packed = false];
  optional Card other = 025;
  string message = 16; bool enum = 17; Kind reserved = 18; string option = 19; fixed64 map = 20;
};
message Card { double a = 1; float b = 2; uint64 c = 3; uint32 d = 4; sfixed32 e = 5; sfixed64 f = 6; }
service Shop { rpc Buy (Order) returns (stream Card) { option idempotency_level = IDEMPOTENT; } }
enum Top { ZERO = 0; LESS = -1; }
"""
TWO = """
syntax = "proto2";
message A {
  required int32 a = 1 [default = -5];
  optional string b = 2 [default = "x;]"];
  repeated A more = 3;
  extensions 100 to 199;
  oneof x { int32 y = 4; }
}
extend A { optional int32 z = 100; }
"""


def _protoc(text: str, folder: Path) -> Any:
    (folder / "schema.proto").write_text(text)
    google = Path(grpc_tools.__file__).parent / "_proto"
    out = folder / "set"
    code = protoc.main(
        ["protoc", f"-I{folder}", f"-I{google}", f"--descriptor_set_out={out}", "schema.proto"]
    )
    assert code == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return file


def _bare(file: Any) -> Any:
    """Without what carries no data: names in JSON, options, services, extensions, defaults."""
    file.ClearField("options")
    file.ClearField("service")
    file.ClearField("extension")

    def below(message: Any) -> None:
        entry, message_options = message.options.map_entry, message.ClearField("options")
        if entry:
            message.options.map_entry = True
        assert message_options is None
        for field in message.field:
            field.ClearField("json_name")
            field.ClearField("default_value")
            packed = field.options.packed if field.options.HasField("packed") else None
            field.ClearField("options")
            if packed is not None:
                field.options.packed = packed
        for nested in message.nested_type:
            below(nested)
        for enum in message.enum_type:
            for value in enum.value:
                value.ClearField("options")
        # protoc lists the entries of maps where they stand; they are the same.
        message.nested_type.sort(key=lambda one: str(one.name))

    for message in file.message_type:
        below(message)
    return file


@pytest.mark.parametrize(
    "text",
    [ALL.replace("      option (my.option) = { a: 1 };", ""), TWO, protobuf_schema(Rich, OrderSettled)],
)
def test_a_text_is_what_protoc_makes_of_it(text: str, tmp_path: Path) -> None:
    ours = descriptor(text.replace("option (my.option) = { a: 1 }; ", ""))
    theirs = _protoc(text.replace("option (my.option) = { a: 1 }; ", ""), tmp_path)
    assert _bare(ours) == _bare(theirs)


def test_options_of_others_are_passed_over() -> None:
    assert descriptor(ALL) == descriptor(ALL.replace("option (my.option) = { a: 1 }; ", ""))


@pytest.mark.parametrize("text", [ALL, TWO, protobuf_schema(Rich, OrderSettled)])
def test_a_printed_text_says_the_same(text: str) -> None:
    file = descriptor(text)
    assert _bare(descriptor(printed(file))) == _bare(file)
    assert printed(descriptor(printed(file))) == printed(file)
    assert descriptor(serialized(file)) == file


@pytest.mark.parametrize(
    "name", ["any", "api", "descriptor", "duration", "field_mask", "struct", "timestamp", "type", "wrappers"]
)
def test_googles_own_files_come_back(name: str) -> None:
    file: Any = descriptor_pb2.FileDescriptorProto()
    importlib.import_module(f"google.protobuf.{name}_pb2").DESCRIPTOR.CopyToProto(file)
    again = descriptor(printed(file), file.name)
    assert printed(again) == printed(file)
    assert [one.name for one in again.message_type] == [one.name for one in file.message_type]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "isn't a .proto file"),
        ("bm90aGluZw==", "isn't a .proto file"),
        ('syntax = "proto3"; message A { string a = 1 }', "line 1: } stands where ; is expected"),
        ('syntax = "proto3";\nmessage A {\n string = 1; }', "line 3: = stands where"),
        ('syntax = "proto3"; message A { Missing a = 1; }', "A: has no type Missing"),
        ('syntax = "proto3"; message A { string a = x; }', "x stands where a number"),
        ('syntax = "proto3"; message A { string a = 1;', "its end stands where"),
        ('syntax = "proto4"; message A { }', "of proto2 or proto3"),
        ('edition = "2023"; message A { }', "edition"),
        ('syntax = "proto3"; message A { string a = 1.5; }', "1.5 stands where a whole number"),
        ('syntax = "proto3"; # message A { }', "'#' isn't expected"),
        ('syntax = "proto3"; message A { string a = 1 [x = 1', "its end stands where"),
        ('syntax = "proto3"; option a = {', "its end stands where"),
        ('syntax = "proto3";', "has no message"),
    ],
)
def test_what_is_no_file_says_where(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"isn't a \.proto file|is a \.proto file|has no type") as caught:
        descriptor(text)
    assert why in str(caught.value)


CODEC = Protobuf(Rich)
RICH_MESSAGE = message_class(descriptor(CODEC.proto), "events.Rich")


@examples()
@given(RICH)
def test_plain_values_by_descriptors_are_those_of_the_contract(event: Rich) -> None:
    made = RICH_MESSAGE.FromString(CODEC.encode([event])[0])
    assert CODEC.contract.load(plain_of(made, CODEC.tags), 2) == event
