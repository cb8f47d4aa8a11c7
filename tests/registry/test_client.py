"""The client: who asks, what it keeps, what can't be reached."""

import asyncio
from pathlib import Path

import pytest

from reactor.core import ArgumentError
from reactor.registry import (
    Registry,
    RegistryError,
    SchemaMissing,
    SchemaText,
    Unreachable,
    schema_of,
    serve,
)
from tests.contracts.shops import First, OrderSettled
from tests.servers.server import free_port

STRING = SchemaText("AVRO", '"string"')


@pytest.mark.parametrize(
    "url", ["", "localhost:8081", "ftp://a", "http://", "http://a:b", "http://u:secret@a?x=1"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ArgumentError, match="write http://localhost:8081") as caught:
        Registry(url)
    assert "secret" not in str(caught.value)


@pytest.mark.anyio
async def test_what_cannot_be_reached_is_told_without_the_password() -> None:
    async with Registry(f"http://me:secret@127.0.0.1:{free_port()}", timeout=2) as registry:
        with pytest.raises(Unreachable, match="can't be reached") as caught:
            await registry.subjects()
    assert "secret" not in f"{caught.value!r} {registry!r} {caught.value}"
    assert "me" not in repr(registry)


@pytest.mark.asyncio
async def test_a_user_and_password_are_sent(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}", auth=("me", "p/w:@%")) as url:
        async with Registry(url.replace("//", "//me:p%2Fw%3A%40%25@")) as registry:
            assert await registry.register("a", STRING) == 1
        async with Registry(url.replace("//", "//me:wrong@")) as registry:
            with pytest.raises(RegistryError, match="refuses who asks") as caught:
                await registry.subjects()
            assert caught.value.code == 401
            assert "wrong" not in str(caught.value)


@pytest.mark.asyncio
async def test_schemas_and_ids_are_kept_and_bounded(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url, cache=2) as registry:
        for n in range(4):
            assert await registry.register(f"s{n}", STRING) == 1
        assert len(registry._ids) == 2
        await registry.schema(1)
    # The server is gone: what was asked lately is known.
    await registry.open()
    assert await registry.schema(1) == STRING
    assert await registry.register("s3", STRING) == 1
    with pytest.raises(Unreachable):
        await registry.register("s0", STRING)
    await registry.close()


@pytest.mark.asyncio
async def test_subjects_versions_levels(tmp_path: Path) -> None:
    async with serve(f"sqlite:{tmp_path / 'shop.db'}") as url, Registry(url) as registry:
        subject = "a/b c-value"
        id = await registry.register(subject, schema_of(First, "avro"))
        assert await registry.subjects() == [subject]
        assert (await registry.version(subject)).id == id
        assert await registry.level(subject) == "BACKWARD"
        assert await registry.check(subject, schema_of(First, "avro")) == []
        (first, _) = await registry.check(subject, schema_of(OrderSettled, "avro"))
        assert first.startswith("$.lines: the new version can't read what version 1 writes")
        await registry.set_level("none", subject)
        assert await registry.level(subject) == "NONE"
        assert await registry.level() == "BACKWARD"
        await registry.register(subject, schema_of(OrderSettled, "avro"))
        assert await registry.versions(subject) == [1, 2]
        assert await registry.delete(subject, 1) == [1]
        with pytest.raises(SchemaMissing, match="40402"):
            await registry.version(subject, 1)
        assert await registry.delete(subject) == [2]
        with pytest.raises(SchemaMissing, match="40401"):
            await registry.versions(subject)
        with pytest.raises(SchemaMissing, match="40403"):
            await registry.schema(99)


@pytest.mark.asyncio
async def test_schemas_outlive_the_server_and_stand_beside_a_topic(tmp_path: Path) -> None:
    from reactor import topic

    store = f"sqlite:{tmp_path / 'shop.db'}"
    async with serve(store) as url, Registry(url) as registry:
        id = await registry.register("a", STRING)
    await topic(f"{store}/orders", First).publish(First("a", 1.0))
    async with serve(store) as url, Registry(url) as registry:
        assert await registry.schema(id) == STRING
        await topic(f"{store}/orders", First).publish(First("b", 1.0))
    assert await topic(f"{store}/orders", First).length() == 2


@pytest.mark.asyncio
async def test_two_servers_of_one_file_give_one_id(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'shop.db'}"
    async with serve(store) as one, serve(store) as other:
        async with Registry(one) as a, Registry(other) as b:
            schemas = [SchemaText("JSON", f'{{"title":"t{n}","type":"object"}}') for n in range(10)]
            tasks = [asyncio.create_task(r.register(s.text, s)) for s in schemas for r in (a, b)]
            ids = [await task for task in tasks]
            assert ids[::2] == ids[1::2]
            assert len(set(ids)) == 10


@pytest.mark.asyncio
async def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(RegistryError, match="isn't a SQLite file"):
        async with serve(f"sqlite:{tmp_path / 'x.db'}"):
            pass
    with pytest.raises(ArgumentError, match="write sqlite:PATH"):
        async with serve("postgres:x"):
            pass
