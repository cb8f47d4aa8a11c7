"""Where a stream begins and ends. AMQP has no call that tells, so this looks at what is delivered from there.

From ``last`` on the server delivers the chunk that was written last, whole; of a stream without messages it
delivers nothing, which looks the same as a server that takes its time. So where nothing comes for a moment, a
*mark* is written into the stream, and something has to come. Those who read the stream pass over it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import anyio
from aiormq.exceptions import DeliveryError
from pamqp import commands

from reactor.connectors.rabbitmq.errors import Lost
from reactor.connectors.rabbitmq.link import Channel

OFFSET = "x-stream-offset"
MARK = "reactor.mark"
"""The type of a message that is none."""

Spec = int | datetime | str
"""Where to read from, as RabbitMQ has it: an offset, a time (its second), ``first``, ``last``."""

_EMPTY = 0.3
"""Seconds without a message after which a stream is taken for empty."""

_LATEST = 30.0
"""Seconds in which a mark comes that is confirmed; else the stream, or the connection, is gone."""

_BACK = 100
"""How many offsets are looked at where the last message is a mark."""


class Seen(NamedTuple):
    """What came from some place up to the end."""

    first: int
    """The offset of the first message, be it a mark."""
    end: int
    """The offset behind the last one."""
    data: bytes | None
    """Of the last message that is no mark."""


async def look(channel: Channel, stream: str, spec: Spec, prefetch: int, *, whole: bool = True) -> Seen:
    """Return what there is from ``spec`` to the end, or the beginning of that.

    The channel has no other consumer meanwhile.
    """
    arrived = anyio.Event()
    first: int | None = None
    end = tag = count = 0
    data: bytes | None = None

    def deliver(its_tag: int, again: bool, properties: Any, body: bytes) -> None:
        nonlocal first, end, tag, count, data
        offset = properties.headers[OFFSET]
        first = offset if first is None else first
        end, tag, count = offset + 1, its_tag, count + 1
        if not is_mark(properties):
            data = body
        arrived.set()

    def closed(_: object) -> None:
        arrived.set()

    await channel.basic_qos(prefetch_count=prefetch)
    channel.deliver = deliver
    said = await channel.basic_consume(stream, nobody, arguments={OFFSET: spec})
    with anyio.move_on_after(_EMPTY):
        await arrived.wait()
    if first is None:
        await publish(channel, stream, b"", MARK)
        channel.closing.add_done_callback(closed)
        with anyio.move_on_after(_LATEST):
            await arrived.wait()
        channel.closing.remove_done_callback(closed)
        if first is None:
            raise Lost
    seen = acknowledged = 0
    # What can be delivered at once comes before the answer to a call; more, when that is acknowledged.
    while whole:
        await channel.basic_qos(prefetch_count=prefetch)
        if count - seen < prefetch:
            break
        seen, acknowledged = count, tag
        await channel.basic_ack(tag, multiple=True)
    assert said.consumer_tag is not None
    await channel.basic_cancel(said.consumer_tag)
    channel.deliver = Channel.deliver
    if tag != acknowledged:
        await channel.basic_ack(tag, multiple=True)
    return Seen(first, end, data)


async def beginning(channel: Channel, stream: str, spec: Spec) -> int:
    """Return the offset of the first message from ``spec`` on, be it a mark."""
    return (await look(channel, stream, spec, 1, whole=False)).first


async def last(channel: Channel, stream: str, prefetch: int) -> Seen:
    """Return the end, and the last message before it that is no mark."""
    seen = await look(channel, stream, "last", prefetch)
    back = seen.first
    while seen.data is None and back > 0:
        back = max(0, back - _BACK)
        earlier = await look(channel, stream, back, prefetch)
        if earlier.first >= seen.first:
            break  # what stood before it isn't kept any more
        seen = earlier
    return seen


async def publish(channel: Channel, stream: str, data: bytes, type: str) -> None:
    """Write into a stream, past the topic's exchange; return once that is confirmed. Lost: it isn't there."""
    properties = commands.Basic.Properties(delivery_mode=2, message_type=type)
    try:
        said = await channel.basic_publish(data, routing_key=stream, properties=properties, mandatory=True)
    except DeliveryError as error:
        raise Lost from error
    if not isinstance(said, commands.Basic.Ack):
        raise Lost  # it came back: the stream was deleted


def is_mark(properties: Any) -> bool:
    return bool(properties.message_type == MARK)


async def nobody(message: Any) -> None:
    """The channel hands deliveries over itself."""
