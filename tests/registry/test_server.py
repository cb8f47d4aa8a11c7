"""The embedded registry over HTTP, where Confluent's client doesn't lead."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from reactor.contracts import protobuf_schema
from reactor.registry import Registry, SchemaIncompatible, SchemaText, schema_of, serve
from reactor.registry.printing import printed
from reactor.registry.proto import descriptor, serialized
from tests.contracts.shops import First, OrderSettled

JSON = "application/vnd.schemaregistry.v1+json"


def ask(url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": JSON}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.headers["content-type"] == JSON
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


async def asked(url: str, *given: Any) -> tuple[int, Any]:
    return await asyncio.to_thread(ask, url, *given)


@pytest.mark.asyncio
async def test_wrong_requests_are_answered_with_codes(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url:
        for given, expected in [
            (("GET", "/nowhere"), (404, 404)),
            (("PATCH", "/subjects"), (405, 405)),
            (("POST", "/subjects/a/versions", b"{"), (400, 400)),
            (("POST", "/subjects/a/versions", {}), (422, 42201)),
            (("POST", "/subjects/a/versions", []), (422, 42201)),
            (("POST", "/subjects/a/versions", {"schema": "  "}), (422, 42201)),
            (("POST", "/subjects/a/versions", {"schema": "{}", "schemaType": "XML"}), (422, 42201)),
            (("POST", "/subjects/a/versions", {"schema": "[]", "schemaType": "JSON"}), (422, 42201)),
            (("POST", "/subjects/a/versions", {"schema": "[" * 100_000}), (422, 42201)),
            (("POST", "/subjects/a/versions", {"schema": "message", "schemaType": "PROTOBUF"}), (422, 42201)),
            (("POST", "/subjects/a/versions", b'"' + b"x" * (9 << 20) + b'"'), (413, 413)),
            (("GET", "/subjects/a/versions/0"), (422, 42202)),
            (("GET", "/subjects/a/versions/x"), (422, 42202)),
            (("GET", "/subjects/a/versions/1"), (404, 40401)),
            (("GET", "/schemas/ids/x"), (404, 404)),
            (("PUT", "/config", {"compatibility": 5}), (422, 42203)),
            (("PUT", "/mode", {}), (422, 42204)),
            (("GET", "/mode/a"), (404, 40409)),
            (("DELETE", "/subjects/a"), (404, 40401)),
            (("POST", "/compatibility/subjects/a/versions", {"schema": '"int"'}), (404, 40401)),
        ]:
            status, said = await asked(url, *given)
            assert (status, said["error_code"]) == expected, (given[:2], said)
            assert said["message"]


@pytest.mark.asyncio
async def test_protobuf_is_kept_as_text_and_answered_as_it_is_asked_for(tmp_path: Path) -> None:
    text = protobuf_schema(OrderSettled)
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url:
        as_bytes = serialized(descriptor(text, "other.proto"))
        given = {"schemaType": "PROTOBUF", "schema": as_bytes}
        _, first = await asked(url, "POST", "/subjects/a/versions", given)
        _, second = await asked(url, "POST", "/subjects/b/versions", {**given, "schema": text})
        assert first["id"] == second["id"]  # the same schema
        _, said = await asked(url, "GET", f"/schemas/ids/{first['id']}")
        assert said == {"schema": printed(descriptor(text)), "schemaType": "PROTOBUF"}
        _, said = await asked(url, "GET", f"/schemas/ids/{first['id']}?format=serialized")
        assert base64.b64decode(said["schema"])
        assert printed(descriptor(said["schema"])) == printed(descriptor(text))


@pytest.mark.asyncio
async def test_schemas_as_such(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url:
        plain = {"type": "record", "name": "A", "fields": []}
        await asked(url, "POST", "/subjects/x%2Fversions%2F1/versions", {"schema": json.dumps(plain)})
        assert await asked(url, "GET", "/schemas/ids/1/schema") == (200, plain)
        assert await asked(url, "GET", "/subjects/x%2Fversions%2F1/versions/latest/schema") == (200, plain)
        assert (await asked(url, "GET", "/schemas/types"))[1] == ["AVRO", "JSON", "PROTOBUF"]
        spaced = json.dumps(dict(reversed(plain.items())), indent=2)
        _, same = await asked(url, "POST", "/subjects/other/versions", {"schema": spaced})
        assert same["id"] == 1  # white space and order mean nothing


@pytest.mark.asyncio
async def test_json_schemas_of_contracts_are_compared(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        await registry.register("a", schema_of(First, "json"))
        with pytest.raises(SchemaIncompatible, match=r"\$\.lines: the new version can't read"):
            await registry.register("a", schema_of(OrderSettled, "json"))
        # A reader passes over what it doesn't know, so that one more that may be missing goes with all before.
        await registry.register("b", SchemaText("JSON", '{"type":"object","properties":{}}'))
        more = '{"type":"object","properties":{"x":{"$ref":"#/definitions/A"}},"definitions":{"A":{}}}'
        await registry.register("b", SchemaText("JSON", more))
        must = '{"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}'
        with pytest.raises(SchemaIncompatible, match=r"\$\.x"):
            await registry.register("b", SchemaText("JSON", must))


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    program = (
        "from reactor.cli import app, registry\n"
        "if not any(group.name == 'registry' for group in app.registered_groups):\n"
        "    app.add_typer(registry.app, name='registry')\n"
        "app()"
    )
    store = f"sqlite:{tmp_path / 'shop.db'}"
    command = [sys.executable, "-c", program, "registry", "serve", "--store"]
    with subprocess.Popen([*command, store, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.endswith(f"({store})\n")
        url = line.split()[2]
        try:
            assert ask(url, "POST", "/subjects/a/versions", {"schema": '"int"'})[1]["id"] == 1
            taken = subprocess.run(
                [*command, store, "--port", url.rpartition(":")[2]],
                capture_output=True,
                text=True,
                check=False,
            )
            assert (taken.returncode, "choose another port" in taken.stderr) == (1, True)
        finally:
            os.kill(server.pid, signal.SIGINT)
        assert server.wait(20) == 0
    wrong = subprocess.run([*command, "nowhere"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, "write sqlite:PATH" in wrong.stderr) == (2, True)
