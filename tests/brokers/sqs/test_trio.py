"""On trio it says what it needs."""

import msgspec
import pytest

from reactor import topic
from reactor.connectors.sqs import Sqs
from reactor.core import TopicError

pytestmark = pytest.mark.anyio


class Tick(msgspec.Struct):
    number: int


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "trio"


async def test_it_needs_asyncio() -> None:
    ticks = topic("sqs://eu-west-1/orders", Tick, config=Sqs(patience=1))
    with pytest.raises(TopicError, match="needs asyncio"):
        await ticks.publish(Tick(1))
    source = ticks.source("g")
    with pytest.raises(TopicError, match="needs asyncio"):
        try:
            await source.open()
        finally:
            await source.close()
