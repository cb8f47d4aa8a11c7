"""Addresses, credentials, TLS, and what is wrong with a server."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import pytest
from redis.exceptions import ResponseError

from reactor import ArgumentError, Pipeline, topic
from reactor.connectors.redis import Redis as Options
from reactor.core import TopicError
from tests.brokers.redis.reading import Tick, ask, opened, take
from tests.servers.redis import PASSWORD, Redis
from tests.servers.server import free_port

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("user", ["", "nobody"])
async def test_wrong_credentials_are_told_at_once(redis_server: Redis, user: str) -> None:
    at = topic(f"redis://{user}:wr0ng-word@127.0.0.1:{redis_server.port}/orders?patience=60", Tick)
    for end in (at.source("g"), at.source(), at.sink()):
        began = time.monotonic()
        try:
            with pytest.raises(TopicError, match="refuses the user or password") as caught:
                await end.open()
        finally:
            await end.close()
        assert time.monotonic() - began < 20
        assert "wr0ng-word" not in f"{caught.value} {caught.value.__cause__!r} {at!r}"


async def test_no_credentials_are_told_at_once(redis_server: Redis) -> None:
    at = topic(f"redis://127.0.0.1:{redis_server.port}/orders?patience=60", Tick)
    for end in (at.source("g"), at.sink()):
        try:
            with pytest.raises(TopicError, match="refuses the user or password"):
                await end.open()
        finally:
            await end.close()


async def test_a_password_that_is_changed_while_it_runs_ends_it(own_redis: Redis) -> None:
    url = own_redis.topic()
    name = topic(url).name
    await ask(own_redis, "ACL", "SETUSER", "reader", "on", ">one", "~*", "+@all")
    try:
        at = topic(f"redis://reader:one@127.0.0.1:{own_redis.port}/{name}", Tick)
        async with opened(at.source("g")) as source:
            await topic(url, Tick).publish(Tick(1))
            assert await take(source, 1, commit=True) == [1]
            await ask(own_redis, "ACL", "SETUSER", "reader", "resetpass", ">two")
            await ask(own_redis, "CLIENT", "KILL", "USER", "reader")
            with pytest.raises(TopicError, match="refuses the user or password"), anyio.fail_after(10):
                await source.read(1)
    finally:
        await ask(own_redis, "ACL", "DELUSER", "reader")


async def test_a_key_that_is_no_stream_is_told(redis_server: Redis) -> None:
    url = redis_server.topic()
    name = topic(url).name
    await ask(redis_server, "SET", name, "x")
    for end in (topic(url, Tick).source("g"), topic(url, Tick).source(), topic(url, Tick).sink()):
        try:
            with pytest.raises(TopicError, match=f"the key '{name}' is no stream"):
                await end.open()
        finally:
            await end.close()


async def test_databases_are_apart(redis_server: Redis) -> None:
    name = topic(redis_server.topic()).name
    one, two = (topic(redis_server.topic(f"db={db}", name=name), Tick) for db in (1, 2))
    await one.publish(Tick(1))
    await two.publish(Tick(2))
    assert [record.value.number async for record in one.records("earliest")] == [1]
    assert one.source("g").identity != two.source("g").identity
    with pytest.raises(TopicError, match="DB index is out of range"):
        await topic(redis_server.topic("db=99", name=name), Tick).publish(Tick(1))


async def test_options_come_from_the_url_and_from_a_config(redis_server: Redis) -> None:
    at = topic(redis_server.topic("prefetch=7"), Tick, config=Options(prefetch=5, maxlen=3))
    assert at._log.settings == Options(prefetch=7, maxlen=3)  # type: ignore[attr-defined]
    assert at.source("g")._consumer.prefetch == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h/t?prefetch=0", "prefetch=0: must be >= 1"),
        ("redis://h/t?maxlen=0", "maxlen=0: must be >= 1"),
        ("redis://h/t?claim_idle=0", "claim_idle=0.0: must be >= 0.1"),
        ("redis://h/t?field=", "name the field"),
        ("redis://a,b/t", "one server"),
        ("redis://h/t?tls_ca=x", "need rediss://"),
        ("rediss://h/t?tls_cert=x", "belong together"),
        ("redis://h", "the topic is missing"),
    ],
)
async def test_addresses_and_options_that_cant_be_are_refused(url: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        topic(url)


async def test_entries_of_others_are_read(redis_server: Redis) -> None:
    orders = topic(redis_server.topic(), Tick)
    await ask(redis_server, "XADD", orders.name, "5-7", "data", json.dumps({"number": 1}))
    await ask(redis_server, "XADD", orders.name, "*", "shop", b"\xff\xe4", "data", b'{"number": 2}', "k", "v")
    await ask(redis_server, "XADD", orders.name, "*", "number", "3", "text", "flat")
    plain = topic(redis_server.topic(name=orders.name))
    for group in ("g", None):
        found = []
        async with opened(plain.source(group, follow=False)) as source:
            while (records := await source.read(10)) is not None:
                found += records
        assert [record.value for record in found] == [
            {"number": 1},
            {"number": 2},
            {"number": "3", "text": "flat"},
        ]
        assert dict(found[1].headers) == {"shop": "\ufffd\ufffd", "k": "v"}
        assert (found[0].time, found[0].place) == (5000, "5-7")
    async with opened(orders.source("typed", start="earliest")) as source:
        assert await take(source, 2) == [1, 2]


async def test_an_entry_can_be_read_by_others(redis_server: Redis) -> None:
    orders = topic(redis_server.topic(), Tick)
    await orders.publish(Tick(1, "x"), key="k", id="id-1", time=1_800_000_000_000_000, headers={"shop": "Ä"})
    [(_, fields)] = await ask(redis_server, "XRANGE", orders.name, "-", "+")
    assert {name.decode(): value.decode() for name, value in fields.items()} == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-source": orders.name,
        "ce-id": "id-1",
        "ce-type": "Tick",
        "ce-time": "2027-01-15T08:00:00.000000+00:00",
        "ce-partitionkey": "k",
        "shop": "Ä",
        "data": '{"number":1,"text":"x"}',
    }


async def test_the_client_is_of_asyncio() -> None:
    def run() -> None:
        async def main() -> None:
            for end in (topic("redis://h/t", Tick).source("g"), topic("redis://h/t", Tick).sink()):
                try:
                    with pytest.raises(TopicError, match="needs asyncio"):
                        await end.open()
                finally:
                    await end.close()
            await Pipeline("ends", topic("redis://h/t", Tick).subscribe("g").discard()).run()

        with pytest.raises(TopicError, match="needs asyncio"):
            anyio.run(main, backend="trio")

    await anyio.to_thread.run_sync(run)


async def test_the_example_of_the_docs(redis_server: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    page = await anyio.Path(Path(__file__).parents[3] / "docs/brokers/redis.md").read_text("utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    where = redis_server.topic().rpartition("/")[0]
    assert "redis://:secret@localhost:6379" in code
    names: dict[str, Any] = {"__name__": "example"}
    exec(code.replace("redis://:secret@localhost:6379", where), names)
    await names["main"]()
    assert capsys.readouterr().out == "[1, 2]\n"


# TLS --------------------------------------------------------------------------------------------------------


def _certificate(folder: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem"
    names = ["-subj", "/CN=redis.example", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True, cwd=folder)


async def _tls(server: Redis, authority: Path) -> int:
    """Let it listen for TLS, too; return on which port."""
    while True:
        port = free_port()
        try:
            await ask(server, "CONFIG", "SET", "tls-ca-cert-file", str(authority), "tls-port", str(port))
        except ResponseError as error:
            if "Unable to listen" not in str(error):  # somebody else was faster
                raise
        else:
            return port


async def test_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    await anyio.to_thread.run_sync(_certificate, tmp_path)
    server = Redis(
        "tls-port 0",
        f"tls-cert-file {tmp_path}/cert.pem",
        f"tls-key-file {tmp_path}/key.pem",
        "tls-auth-clients no",
    )
    try:
        await anyio.to_thread.run_sync(server.start)
        port = await _tls(server, tmp_path / "cert.pem")
        where = f"127.0.0.1:{port}/orders?patience=1"
        safe = f"rediss://:{quote(PASSWORD, safe='')}@{where}"
        at = topic(f"{safe}&tls_ca={tmp_path}/cert.pem", Tick)
        await at.publish([Tick(n) for n in range(3)])
        async with opened(at.source("g")) as source:
            assert await take(source, 3, commit=True) == [0, 1, 2]
        with pytest.raises(TopicError, match="self-signed certificate; name the authority"):
            await topic(safe, Tick).publish(Tick(1))
        other = topic(f"{safe.replace('127.0.0.1', 'localhost')}&tls_ca={tmp_path}/cert.pem", Tick)
        with pytest.raises(TopicError, match="Hostname mismatch"):
            await other.publish(Tick(1))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(server.close)
