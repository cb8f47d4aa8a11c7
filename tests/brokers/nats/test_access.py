"""Signing in, as NATS does it: tokens, NKEYs, credentials; TLS; permissions; several servers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from reactor import topic
from reactor.connectors.nats import Nats
from reactor.core import TopicError
from tests.servers.nats import NatsServer
from tests.servers.server import Missing, free_port, require

pytestmark = pytest.mark.anyio


class Tick(msgspec.Struct, frozen=True):
    number: int


@contextmanager
def server_with(access: str) -> Iterator[NatsServer]:
    try:
        server = NatsServer(access)
    except Missing as missing:
        require(missing)
    try:
        server.start()
        yield server
    finally:
        server.close()


async def works(url: str, config: Nats | None = None) -> None:
    ticks = topic(url, Tick, config=config)
    await ticks.publish([Tick(1), Tick(2)])
    source = ticks.source("group", follow=False)
    await source.open()
    records = await source.read(10)
    await source.close()
    assert records


async def fails(url: str, match: str, config: Nats | None = None) -> None:
    with pytest.raises(TopicError, match=match), anyio.fail_after(8):
        await topic(url, Tick, config=config).publish(Tick(1))


@pytest.mark.blocking
async def test_a_token() -> None:
    with server_with('authorization { token: "t0ken" }') as server:
        await works(f"nats://127.0.0.1:{server.port}/a?token=t0ken")
        await works(f"nats://127.0.0.1:{server.port}/a", Nats(token="t0ken"))
        await fails(f"nats://127.0.0.1:{server.port}/a", "refuses who signs in")


@pytest.mark.blocking
async def test_an_nkey(tmp_path: Path) -> None:
    pytest.importorskip("nkeys")
    from tests.brokers.nats.access import Identity

    user, other = Identity("user"), Identity("user")
    path, wrong = tmp_path / "user.nk", tmp_path / "other.nk"
    path.write_bytes(user.seed)
    wrong.write_bytes(other.seed)
    with server_with(f"authorization {{ users: [{{ nkey: {user.public} }}] }}") as server:
        url = f"nats://127.0.0.1:{server.port}/a"
        await works(f"{url}?nkey={path}")
        await fails(url, "refuses who signs in", Nats(nkey=str(wrong)))
        await fails(url, "No such file", Nats(nkey=str(tmp_path / "none")))


@pytest.mark.blocking
async def test_a_credentials_file(tmp_path: Path) -> None:
    pytest.importorskip("nkeys")
    from tests.brokers.nats.access import operated

    settings, credentials = operated()
    path, wrong = tmp_path / "user.creds", tmp_path / "other.creds"
    path.write_text(credentials)
    wrong.write_text(operated()[1])
    with server_with(settings) as server:
        url = f"nats://127.0.0.1:{server.port}/a"
        await works(f"{url}?credentials={path}")
        await fails(url, "refuses who signs in", Nats(credentials=str(wrong)))
        for text, said in (("nothing", "no user's JWT"), (credentials.replace("SU", "SX"), "isn't one")):
            path.write_text(text)
            await fails(url, f"credentials.*{said}", Nats(credentials=str(path)))


@pytest.mark.blocking
async def test_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("not run: openssl is missing, which makes the certificates")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    tls = f'cert_file: "{certificate}", key_file: "{key}"'
    with server_with(f"tls {{ {tls} }}") as server:
        url = f"nats://127.0.0.1:{server.port}/a"
        await works(f"{url}?tls_ca={certificate}")
        await fails(f"{url}?tls=true", "TLS.*certificate verify failed")
        await fails(url, "TLS.*certificate verify failed")
        await fails(f"{url}?tls_ca={certificate}&tls_hostname=other", "TLS.*certificate verify failed")
    with server_with(f'tls {{ {tls}, ca_file: "{certificate}", verify: true }}') as server:
        url = f"nats://127.0.0.1:{server.port}/a?tls_ca={certificate}"
        await works(f"{url}&tls_cert={certificate}&tls_key={key}")
    with server_with("") as server:
        await fails(f"nats://me:secret@127.0.0.1:{server.port}/a?tls=true", "the server has no TLS")


@pytest.mark.blocking
async def test_what_isnt_permitted_is_told() -> None:
    users = (
        '{ user: writer, password: w, permissions: { publish: ["$JS.API.>", "allowed"], subscribe: ">" } },'
        '{ user: nobody, password: n, permissions: { publish: "x", subscribe: "y" } }'
    )
    with server_with(f"authorization {{ users: [{users}] }}") as server:
        at = f"127.0.0.1:{server.port}"
        ticks = topic(f"nats://writer:w@{at}/allowed", Tick)
        await ticks.publish(Tick(1))
        await fails(f"nats://writer:w@{at}/forbidden", "doesn't permit.*forbidden")
        await fails(f"nats://nobody:n@{at}/allowed", "doesn't permit")
        source = ticks.source("group")
        await source.open()
        assert await source.read(1)
        with pytest.raises(TopicError, match="doesn't permit"), anyio.fail_after(8):
            await source.commit(1)  # acknowledging is publishing, to $JS.ACK
        await source.close()


@pytest.mark.blocking
async def test_one_of_several_servers_is_enough() -> None:
    with server_with("") as server:
        for _ in range(4):  # the client takes them in any order
            await works(f"nats://127.0.0.1:{free_port()},127.0.0.1:{server.port}/a?patience=0")


@pytest.mark.blocking
async def test_without_jetstream_it_says_so() -> None:
    with server_with("") as server:
        path = server.folder / "server.conf"
        path.write_text(f'listen: "127.0.0.1:{server.port}"\n')
        server.stop()
        server.start()
        await fails(f"nats://127.0.0.1:{server.port}/a?patience=0.5", "is JetStream enabled")
