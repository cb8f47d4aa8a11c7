"""Contracts are checked before they are deployed: chains, exported schemas; from Python, tests and the shell."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import fastavro
import msgspec
import pytest

import reactor
from reactor import Topic, topic
from reactor.contracts import (
    asyncapi,
    catalogue,
    channels_in,
    check,
    contract_of,
    contracts_in,
    event,
    upcast,
)
from reactor.core import ArgumentError
from reactor.testing import check_contracts
from tests.contracts import shops
from tests.contracts.rich import Rich
from tests.contracts.shops import First, OrderSettled

ROOT = Path(reactor.__file__).parent.parent


@event("Sent")
class Sent1(msgspec.Struct):
    id: str


@event("Sent", version=2)
class Sent2(msgspec.Struct):
    id: str
    to: str


@event("Sent", version=3)
class Sent(msgspec.Struct):
    id: str
    to: str
    note: str = ""


SENT = [contract_of(kind) for kind in (Sent1, Sent2, Sent)]


def test_a_module_s_contracts_are_found_and_whole() -> None:
    found = contracts_in(shops)
    assert [(one.name, one.version) for one in found] == [("OrderSettled", n) for n in (1, 2, 3)]
    assert check(found) == []
    check_contracts(shops)


def test_what_topics_of_a_module_carry_counts() -> None:
    module = ModuleType("shop")
    module.orders = topic("memory:checked.orders", OrderSettled)  # type: ignore[attr-defined]
    assert [one.version for one in contracts_in(module)] == [3]
    assert [channel.name for channel in channels_in(module)] == ["checked.orders"]


def test_steps_without_an_upcaster_are_told_with_what_they_have_to_mend() -> None:
    problems = [str(problem) for problem in check(SENT)]
    assert problems == [
        "Sent version 3: nothing brings version 1 to 2; declare @upcast(Sent, from_version=1) that mends\n"
        "    $.to: is required in the new, and the old doesn't have it",
        "Sent version 3: nothing brings version 2 to 3; declare @upcast(Sent, from_version=2); the payload fits "
        "as it is, it can return what it is given",
    ]
    with pytest.raises(AssertionError, match="nothing brings version 1 to 2"):
        check_contracts([Sent1, Sent2, Sent])


def test_an_upcaster_that_takes_something_else_is_told() -> None:
    @event("Mistaken")
    class Old(msgspec.Struct):
        id: int

    @event("Mistaken", version=2)
    class New(msgspec.Struct):
        id: str

    @upcast(New, from_version=1)
    def mistaken(old: First) -> New:
        return New(old.id)

    (problem,) = check([contract_of(Old), contract_of(New)])
    assert "takes what that version isn't" in problem.what
    assert {one.path for one in problem.findings} == {"$.id", "$.total"}


def saved(*kinds: type[Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(catalogue(contract_of(kind) for kind in kinds)))


def test_what_was_exported_must_still_be_readable() -> None:
    today = [contract_of(OrderSettled)]
    assert check(today, saved(OrderSettled)) == []
    assert check(today, saved(First)) == []  # its upcasters are there
    assert check(today, saved(First)["contracts"]) == []


def test_a_change_without_a_new_version_is_told() -> None:
    changed: Any = saved(OrderSettled)
    schema = changed["contracts"]["OrderSettled"]["schema"]["$defs"]["OrderSettled"]
    schema["required"].remove("currency")
    (problem,) = check([contract_of(OrderSettled)], changed)
    assert str(problem) == (
        "OrderSettled version 3: isn't backward compatible with what it was; give it version 4 and an upcaster\n"
        "    $.currency: is required in the new, and may be missing in the old"
    )
    assert check([contract_of(OrderSettled)], changed, "forward") == []
    assert len(check([contract_of(OrderSettled)], changed, "full")) == 1


def test_a_contract_that_is_gone_or_went_back_is_told() -> None:
    (gone,) = check([contract_of(Sent1)], saved(OrderSettled))
    assert str(gone).startswith("OrderSettled version 3: is gone; what was stored can't be read")
    (back,) = check([contract_of(Sent1)], saved(Sent))
    assert str(back) == "Sent: was version 3 already; versions only count up"

    @event("order.noted", formerly="OrderNoted")
    class Noted(msgspec.Struct):
        id: str

    before = saved(Noted)
    before["contracts"]["OrderNoted"] = before["contracts"].pop("order.noted")
    assert check([contract_of(Noted)], before) == []


def test_what_is_no_export_is_refused() -> None:
    with pytest.raises(ArgumentError, match="x has no schema"):
        check([contract_of(Rich)], {"x": 3})
    with pytest.raises(ArgumentError, match="known modes: backward"):
        check([contract_of(Rich)], mode="sideways")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="has no contracts"):
        check_contracts(ModuleType("empty"))


# AsyncAPI -------------------------------------------------------------------------------------------------------


def resolved(document: Any, reference: str) -> Any:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        inner = [one for name, child in value.items() if name != "mapping" for one in references(child)]
        mapping = value.get("mapping", {}) if "propertyName" in value else {}
        return [*inner, *mapping.values(), *([value["$ref"]] if isinstance(value.get("$ref"), str) else [])]
    return [one for child in value for one in references(child)] if isinstance(value, list) else []


def test_an_asyncapi_document_has_channels_messages_and_operations(tmp_path: Path) -> None:
    orders: Topic[Any] = topic(f"sqlite:{tmp_path}/shop.db/orders", OrderSettled, Rich)
    paid: Topic[Any] = topic("memory:paid", First)
    document: Any = asyncapi(
        "shop",
        [orders],
        version="2.1",
        actions={"orders": ["send", "receive"]},
        contracts=[contract_of(Sent)],
    )
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "shop", "version": "2.1"}
    channel = document["channels"]["orders"]
    assert channel["address"] == "orders"
    assert set(channel["messages"]) == {"OrderSettled", "Rich"}
    assert document["operations"]["send.orders"] == {
        "action": "send",
        "channel": {"$ref": "#/channels/orders"},
    }
    message = resolved(document, channel["messages"]["OrderSettled"]["$ref"])
    assert message["headers"]["properties"] == {"reactor-version": {"type": "string", "const": "3"}}
    assert message["payload"]["schemaFormat"] == "application/schema+json;version=2020-12"
    assert set(document["components"]["messages"]) == {"OrderSettled", "Rich", "Sent"}
    found = references(document)
    assert len(found) > 10
    for reference in found:
        assert reference.startswith("#/")
        assert resolved(document, reference) is not None
    with pytest.raises(ArgumentError, match="two topics are called 'paid'"):
        asyncapi("shop", [paid, paid])
    with pytest.raises(ArgumentError, match="send or receive"):
        asyncapi("shop", [paid], actions={"paid": ["listen"]})  # type: ignore[list-item]


def test_no_password_stands_in_a_document() -> None:
    class Broker(NamedTuple):
        url: str
        name: str
        types: tuple[type[Any], ...]

    document = asyncapi(
        "shop", [Broker("kafka://me:secret@host:9092/orders?sasl.password=secret", "orders", (First,))]
    )
    assert "secret" not in json.dumps(document)
    assert document["servers"] == {"kafka-host_9092": {"host": "host:9092", "protocol": "kafka"}}


# The command line -----------------------------------------------------------------------------------------------

SHOP = """
import msgspec
from reactor import event, topic, upcast

@event("OrderSettled", version=2)
class OrderSettled(msgspec.Struct):
    id: str
    total: float
    {more}

{upcaster}

orders = topic("sqlite:shop.db/orders", OrderSettled)
"""
UPCASTER = "@upcast(OrderSettled, from_version=1)\ndef grow(old):\n    return {**old, 'total': 0}\n"


def shell(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "reactor", "contracts", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_check_and_export_from_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(SHOP.replace("{more}", "").replace("{upcaster}", ""))
    done = shell(tmp_path, "check", "shop")
    assert done.returncode == 1
    assert done.stdout.startswith("OrderSettled version 2: nothing brings version 1 to 2; declare @upcast")
    assert done.stderr == "1 contract, 1 problem\n"
    path.write_text(SHOP.replace("{more}", "").replace("{upcaster}", UPCASTER))
    done = shell(tmp_path, "check", "shop")
    assert (done.returncode, done.stdout) == (0, "1 contract: all that is stored can be read\n")

    exported = shell(tmp_path, "export", "shop")
    (tmp_path / "before.json").write_text(exported.stdout)
    assert shell(tmp_path, "check", "shop", "--against", "before.json").returncode == 0
    path.write_text(SHOP.replace("{more}", "currency: str").replace("{upcaster}", UPCASTER))
    done = shell(tmp_path, "check", "shop", "--against", "before.json")
    assert done.returncode == 1
    assert "give it version 3 and an upcaster\n    $.currency: is required in the new" in done.stdout
    assert shell(tmp_path, "check", "shop", "--against", "before.json", "--mode", "forward").returncode == 0


def test_every_format_is_printed(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP.replace("{more}", "").replace("{upcaster}", UPCASTER))
    (schema,) = json.loads(shell(tmp_path, "export", "shop", "--format", "avro").stdout)
    fastavro.parse_schema(schema)
    assert schema["name"] == "OrderSettled"
    proto = shell(tmp_path, "export", "shop", "--format", "protobuf", "--package", "shop.v2").stdout
    assert "package shop.v2;" in proto
    assert "message OrderSettled {\n  string id = 1;\n  double total = 2;\n}" in proto
    document = json.loads(shell(tmp_path, "export", "shop", "--format", "asyncapi", "--title", "Shop").stdout)
    assert document["info"]["title"] == "Shop"
    assert document["channels"]["orders"]["address"] == "orders"
    named = json.loads(shell(tmp_path, "export", "shop", "--format", "json-schema").stdout)
    assert named["contracts"]["OrderSettled"]["version"] == 2


@pytest.mark.parametrize(
    ("source", "arguments", "code", "says"),
    [
        ("", ("check", "shop"), 2, "shop names no class with @event"),
        ("", ("export", "shop"), 2, "shop names no class with @event"),
        (
            "import nowhere_to_be",
            ("check", "shop"),
            1,
            "shop can't be imported: No module named 'nowhere_to_be'",
        ),
        ("1 / 0", ("check", "shop"), 1, "shop can't be imported: ZeroDivisionError: division by zero"),
        ("", ("check", "warehouse"), 2, "there is no module warehouse"),
        (SHOP, ("check", "shop", "--against", "none.json"), 2, "--against: none.json: No such file"),
        (SHOP, ("check", "shop", "--against", "shop.py"), 2, "isn't what export has made"),
        (SHOP, ("check", "shop", "--mode", "sideways"), 2, "sideways: the modes are"),
    ],
)
def test_what_goes_wrong_is_one_line(
    tmp_path: Path, source: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "shop.py").write_text(source.replace("{more}", "").replace("{upcaster}", ""))
    done = shell(tmp_path, *arguments)
    assert done.returncode == code
    assert says in " ".join(done.stderr.split())
