"""Looking at what waits in a subscription: it is pulled, not acknowledged, and given back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from reactor.connectors.brokers import Delivery
from reactor.connectors.pubsub.consumer import PubSubConsumer
from reactor.connectors.pubsub.service import Answered
from reactor.core import TopicError

_AT_ONCE = 1000


async def look(
    consumer: PubSubConsumer, what: str, quiet: float, over: Callable[[Delivery], bool] | None
) -> list[Delivery]:
    """Return what comes until nothing has come for ``quiet`` seconds; what is ``over`` is acknowledged.

    A process that dies meanwhile loses nothing: what it has pulled comes again after ``ack_deadline``.
    """
    found: dict[str, Delivery] = {}
    try:
        try:
            await consumer.open()
        except TopicError as error:
            if isinstance(error.__cause__, Answered) and error.__cause__.code == "NOT_FOUND":
                raise TopicError(
                    f"{what}: keeps no dead letters: {error.__cause__.details}; a pipeline that has it as "
                    "dead_letters= makes what is missing"
                ) from error
            raise
        while True:
            deliveries: Sequence[Delivery] = ()
            with anyio.move_on_after(quiet):
                deliveries = await consumer.receive(_AT_ONCE) or ()
            if not deliveries:
                return list(found.values())
            done = [each for each in deliveries if over is not None and over(each)]
            found.update((each.id, each) for each in deliveries)
            for each in done:
                del found[each.id]
            await consumer.settle([each.token for each in done])
    finally:
        with anyio.CancelScope(shield=True):
            await consumer.close()
