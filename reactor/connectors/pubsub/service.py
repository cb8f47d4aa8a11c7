"""The service: one channel to it, its calls, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any
from urllib.parse import quote

import anyio

from reactor.connectors.brokers import Backoff
from reactor.connectors.pubsub.settings import PubSub
from reactor.core import TopicError

_PASSING = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN", "CANCELLED", "RESOURCE_EXHAUSTED"}
)
"""What may be over in a moment; the same call may be made again."""

_SOON = 5.0
"""Seconds for a call that is answered at once."""


class Answered(Exception):
    """The service, or the way to it, answered with an error."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details

    @property
    def credentials(self) -> bool:
        """Whether it is for who we are."""
        return (
            self.code in ("UNAUTHENTICATED", "PERMISSION_DENIED")
            or "metadata from plugin failed" in self.details
        )

    @property
    def passing(self) -> bool:
        return self.code in _PASSING


class Service:
    """A connection to Pub/Sub, of one source or sink. ``what`` names the topic in errors."""

    def __init__(self, what: str, settings: PubSub) -> None:
        self.what = what
        self.settings = settings
        self.api: Any = None
        """The module of its messages, once it is open."""
        self._channel: Any = None
        self._calls: dict[str, Callable[..., Awaitable[Any]]] = {}

    async def open(self) -> None:
        """Make the channel; it connects with the first call. TopicError without credentials."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise TopicError(f"{self.what}: its client needs asyncio; run it there") from None
        # The import takes a second, and reads files.
        self.api = await anyio.to_thread.run_sync(
            import_module, "reactor.connectors.pubsub.api", abandon_on_cancel=True
        )
        settings, api = self.settings, self.api
        if settings.emulator:
            self._channel = api.emulator(settings.emulator)
            return
        try:
            credentials = await anyio.to_thread.run_sync(api.credentials, abandon_on_cancel=True)
        except api.NoCredentials as error:
            raise TopicError(
                f"{self.what}: no credentials for Google Cloud: {error}; set GOOGLE_APPLICATION_CREDENTIALS, or "
                "emulator=HOST:PORT"
            ) from error
        self._channel = api.channel(settings.endpoint, credentials)

    async def close(self) -> None:
        self._calls.clear()
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close(None)

    # Calls ------------------------------------------------------------------------------------------------------

    async def publish(self, topic: str, messages: list[Any], timeout: float) -> None:
        await self._call(
            "Publisher/Publish",
            self.api.PublishRequest(topic=topic, messages=messages),
            "topic",
            topic,
            timeout,
        )

    async def pull(self, subscription: str, count: int, timeout: float, *, wait: bool) -> Any:
        """Return what came within the timeout, perhaps nothing; without ``wait`` what is there now."""
        request = self.api.PullRequest(
            subscription=subscription, max_messages=count, return_immediately=not wait
        )
        answer = await self._call("Subscriber/Pull", request, "subscription", subscription, timeout)
        return answer.received_messages

    async def acknowledge(self, subscription: str, ids: list[str]) -> None:
        request = self.api.AcknowledgeRequest(subscription=subscription, ack_ids=ids)
        await self._call("Subscriber/Acknowledge", request, "subscription", subscription, _SOON)

    async def extend(self, subscription: str, ids: list[str], seconds: int, timeout: float = _SOON) -> None:
        """Let them come again after ``seconds`` from now; at once for 0."""
        request = self.api.ModifyAckDeadlineRequest(
            subscription=subscription, ack_ids=ids, ack_deadline_seconds=seconds
        )
        await self._call("Subscriber/ModifyAckDeadline", request, "subscription", subscription, timeout)

    async def topic(self, name: str) -> Any:
        request = self.api.GetTopicRequest(topic=name)
        return await self._call("Publisher/GetTopic", request, "topic", name)

    async def make_topic(self, name: str) -> None:
        request = self.api.Topic(name=name)
        await self._made(self._call("Publisher/CreateTopic", request, "name", name))

    async def subscription(self, name: str) -> Any:
        request = self.api.GetSubscriptionRequest(subscription=name)
        return await self._call("Subscriber/GetSubscription", request, "subscription", name)

    async def make_subscription(self, name: str, **options: Any) -> None:
        request = self.api.Subscription(name=name, **options)
        await self._made(self._call("Subscriber/CreateSubscription", request, "name", name))

    async def remove_subscription(self, name: str, timeout: float) -> None:
        request = self.api.DeleteSubscriptionRequest(subscription=name)
        await self._call("Subscriber/DeleteSubscription", request, "subscription", name, timeout)

    async def _made(self, call: Awaitable[Any]) -> None:
        try:
            await call
        except Answered as error:
            if error.code != "ALREADY_EXISTS":  # somebody else was faster
                raise

    async def _call(self, method: str, request: Any, field: str, name: str, timeout: float = _SOON) -> Any:
        call = self._calls.get(method)
        if call is None:
            if self._channel is None:
                raise TopicError(f"{self.what}: is closed")
            call = self._calls[method] = self._channel.unary_unary(
                f"/google.pubsub.v1.{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=self.api.ANSWERS.get(method, _nothing),
            )
        # Tells Google's front end where the call belongs.
        metadata = (("x-goog-request-params", f"{field}={quote(name, safe='')}"),)
        try:
            return await call(request, timeout=timeout, metadata=metadata)
        except self.api.RpcError as error:
            answered = Answered(error.code().name, error.details() or "")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            answered = Answered("CANCELLED", "the channel was closed")  # by us, and gRPC tells it like this
        # Out here it doesn't hold gRPC's error, which holds the request and the channel.
        raise answered

    # Errors -----------------------------------------------------------------------------------------------------

    def wrong(self, error: Answered, name: str) -> TopicError:
        """Return the error of a call about ``name`` that needn't be made again."""
        if error.credentials:
            return TopicError(
                f"{self.what}: {name}: {error}; check the credentials, and what they may do: "
                "roles/pubsub.editor, or publisher or subscriber with create=false"
            )
        if error.code == "NOT_FOUND":
            return TopicError(f"{self.what}: there is no {name}: {error}; make it, or let create=true do so")
        return TopicError(f"{self.what}: {name}: {error}")

    async def insist(self, call: Callable[[], Awaitable[Any]], name: str, backoff: Backoff) -> Any:
        """Make a call until it is answered; TopicError when the patience is over, or it never will be."""
        while True:
            try:
                answer = await call()
            except Answered as error:
                if error.credentials or not error.passing:
                    raise self.wrong(error, name) from error
                await backoff.failed(error)
            else:
                backoff.reached()
                return answer


def _nothing(data: bytes) -> None:
    return None


def portions(ids: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Divide message ids and their ack ids by what fits into one request: 2500, and less than 512 KiB."""
    found: list[dict[str, str]] = []
    size = count = 0
    for id, ack in ids:
        size += len(ack) + 4
        if not found or count == 2500 or size > 500_000:
            found.append({})
            size, count = len(ack) + 4, 0
        found[-1][id] = ack
        count += 1
    return found
