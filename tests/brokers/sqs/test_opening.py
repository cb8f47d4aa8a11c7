"""Credentials, endpoints and options: what is wrong is told at once."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reactor import topic
from reactor.connectors.sqs import SqsBroker
from reactor.core import ArgumentError, TopicError
from tests.brokers.sqs.reading import (
    Tick,
    opened,
    ticks,
)
from tests.servers.sqs import Ministack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_wrong_credentials_are_told_at_once(
    ministack: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    them = ticks(ministack.topic("patience=60"))
    monkeypatch.setenv(
        "AWS_ACCESS_KEY_ID", "AKIANOBODYNOBODY0000"
    )  # the server looks at this, not at the secret
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wr0ng")
    since = time.monotonic()
    with pytest.raises(TopicError, match="refuses the credentials") as caught:
        await them.publish(Tick(1))
    assert them.name in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(TopicError, match="refuses the credentials"):
        async with opened(them.source("g")):
            pass
    assert time.monotonic() - since < 20


@pytest.mark.blocking  # having found none, the client looks for them once more
async def test_missing_credentials_are_told_at_once(
    ministack: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    them = ticks(ministack.topic())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(TopicError, match="no credentials"):
        await them.publish(Tick(1))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(TopicError, match="no credentials"):
        await them.publish(Tick(1))
    with pytest.raises(TopicError, match="nobody's"):
        await ticks(ministack.topic("profile=nobody's")).publish(Tick(1))


async def test_an_endpoint_where_nobody_is_is_told_after_the_patience() -> None:
    nowhere = topic("sqs://eu-west-1/orders?endpoint=http://127.0.0.1:1&patience=0.5", Tick)
    since = time.monotonic()
    with pytest.raises(TopicError, match=r"orders.*gone for"):
        await nowhere.publish(Tick(1))
    assert 0.5 <= time.monotonic() - since < 9  # the default patience is 10


async def test_a_queue_has_no_end_and_no_reader_of_its_own(ministack: Ministack) -> None:
    them = ticks(ministack.topic())
    with pytest.raises(ArgumentError, match="latest"):
        them.source("g", start="latest")
    with pytest.raises(ArgumentError, match="follow=False"):
        them.source("g", follow=False)
    async with opened(them.source("g")):
        pass
    source = them.source()
    try:
        with pytest.raises(TopicError, match="subscribe a group"):
            await source.open()
    finally:
        await source.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqs://me:hush@eu-west-1/orders", "no user or password"),
        ("sqs://eu-west-1/or.ders", "a queue's name"),
        ("sqs://eu-west-1/" + "x" * 81, "a queue's name"),
        ("sqs://eu-west-1,eu-west-2/orders", "no region"),
        ("sqs://eu-west-1/orders?wait=21", "wait=21"),
        ("sqs://eu-west-1/orders?wait=0", "wait=0"),
        ("sqs://eu-west-1/orders?largest=2000000", "largest=2000000"),
        ("sqs://eu-west-1/orders?dead_letters=x", "needs max_receives"),
        ("sqs://eu-west-1/orders?endpoint=localhost:9324", "write http://HOST:PORT"),
        ("sqs://eu-west-1/orders?endpoint=http://me:hush@localhost", "without user or password"),
    ],
)
async def test_addresses_and_options_that_cant_be_are_refused(url: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as caught:
        topic(url)
    assert "hush" not in str(caught.value)


async def test_a_queue_of_another_account_is_found_by_its_owner() -> None:
    log = topic("sqs://eu-west-1/123456789012/orders.fifo")._log
    assert isinstance(log, SqsBroker)
    assert log.capabilities.ordered == "key"
    assert (log._queue.account, log._queue.name) == ("123456789012", "orders.fifo")


async def test_credentials_come_from_a_profile(
    ministack: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    path = tmp_path / "credentials"
    path.write_text(f"[shop]\naws_access_key_id={key}\naws_secret_access_key={secret}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    await ticks(ministack.topic("profile=shop")).publish(Tick(1))


async def test_the_pages_example_runs(ministack: Ministack) -> None:
    page = (Path(__file__).parents[3] / "docs" / "brokers" / "sqs.md").read_text("utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    example = example.replace("sqs://eu-west-1/orders.fifo", ministack.topic("wait=1", fifo=True))
    done = await anyio.run_process(
        [sys.executable, "-W", "error", "-c", example + "\nimport anyio\nanyio.run(main)\n"], check=False
    )
    assert (done.stdout.decode(), done.stderr.decode()) == ("[1, 2]\n", "")
