"""Topics and subscriptions: their names, and how they are found or made."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import quote

from reactor.connectors.brokers import Backoff
from reactor.connectors.pubsub.service import Answered, Service
from reactor.core import ArgumentError, TopicError

_NAME = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_RULE = "3 to 255 letters, digits and -._~+%, the first one a letter; it doesn't begin with goog"

_EXPIRES = 24 * 60 * 60
"""Seconds after which the service removes the subscription of a reader without a group that has died."""


_KEPT = 31 * 24 * 60 * 60
"""Seconds for which a subscription keeps a message, at most."""

Kind = Literal["group", "own", "kept"]
"""Of a subscription: a group's; one of a reader without a group; one that keeps dead letters."""


def named(url: str, name: str, what: str) -> str:
    """Return the name; ArgumentError where Pub/Sub would refuse it."""
    if not _NAME.fullmatch(name):
        raise ArgumentError(f"topic({url!r}): {name!r} can't be the name of {what}: {_RULE}")
    return name


def subscription_of(url: str, topic: str, group: str) -> str:
    """Return the name of a group's subscription; characters that names can't have are escaped."""
    return named(url, f"{topic}-{quote(group, safe='.~+')}", "a group's subscription")


class Maker:
    """Finds one topic and its subscriptions, or makes them."""

    def __init__(self, service: Service, project: str, topic: str) -> None:
        self._service = service
        self._settings = service.settings
        self._project = project
        self.topic = self._topic(topic)

    def _topic(self, name: str) -> str:
        return name if "/" in name else f"projects/{self._project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """Return the path of a subscription."""
        return f"projects/{self._project}/subscriptions/{name}"

    async def make_topic(self, backoff: Backoff) -> None:
        """See that the topic is there."""
        await self._ensure_topic(self.topic, backoff)

    async def _ensure_topic(self, path: str, backoff: Backoff) -> None:
        service = self._service
        if await self._found(lambda: service.topic(path), path, backoff) is None:
            await service.insist(lambda: service.make_topic(path), path, backoff)

    async def make_subscription(self, path: str, backoff: Backoff, *, kind: Kind = "group") -> int:
        """See that a subscription is there and ours to read from; return its ack deadline in seconds."""
        service, settings = self._service, self._settings
        # Without a topic the service would say NOT_FOUND of it, which says less.
        await self._ensure_topic(self.topic, backoff)
        found = await self._found(lambda: service.subscription(path), path, backoff)
        if found is None:
            options: dict[str, Any] = {
                "topic": self.topic,
                "ack_deadline_seconds": settings.ack_deadline,
                "enable_message_ordering": settings.ordering,
                # None: it stays, however long its group is away.
                "expiration_policy": {"ttl": {"seconds": _EXPIRES}} if kind == "own" else {},
            }
            if kind == "kept" and not settings.emulator:  # which knows seven days only
                options["message_retention_duration"] = {"seconds": _KEPT}
            if settings.dead_letter and kind == "group":
                dead = self._topic(settings.dead_letter)
                await self._ensure_topic(dead, backoff)
                options["dead_letter_policy"] = {
                    "dead_letter_topic": dead,
                    "max_delivery_attempts": settings.max_delivery_attempts,
                }
            await service.insist(lambda: service.make_subscription(path, **options), path, backoff)
            return settings.ack_deadline
        if found is not _UNSEEN:
            self._check(found, path)
            if kind == "kept" and (most := found.dead_letter_policy.max_delivery_attempts):
                raise TopicError(
                    f"{self._service.what}: each look counts as a delivery, and after {most} of them Pub/Sub "
                    f"moves a message away; take the dead-letter policy off {path}"
                )
            return int(found.ack_deadline_seconds) or settings.ack_deadline
        return 10

    async def _found(self, call: Any, path: str, backoff: Backoff) -> Any:
        """Return it, None where it is missing and may be made, or ``_UNSEEN``."""
        try:
            return await self._service.insist(call, path, backoff)
        except TopicError as error:
            cause = error.__cause__
            if not isinstance(cause, Answered):
                raise
            if cause.code == "NOT_FOUND" and self._settings.create:
                return None
            if cause.code == "PERMISSION_DENIED" and not self._settings.create:
                return _UNSEEN  # who may only publish, or only read, needn't be able to look
            raise

    def _check(self, found: Any, path: str) -> None:
        what = self._service.what
        if found.topic == "_deleted-topic_":
            raise TopicError(
                f"{what}: the topic of {path} was deleted; delete the subscription too, or rename the group"
            )
        if found.topic != self.topic:
            raise TopicError(f"{what}: {path} is of another topic, {found.topic}; rename the group")
        if found.push_config.push_endpoint:
            raise TopicError(f"{what}: {path} pushes to a URL, and can't be read from; rename the group")
        if found.enable_exactly_once_delivery:
            raise TopicError(
                f"{what}: {path} has exactly-once delivery, which isn't supported here; take another group"
            )
        if self._settings.ordering and not found.enable_message_ordering:
            raise TopicError(
                f"{what}: {path} keeps no order, and that can't be changed; write ordering=false, or delete it"
            )


_UNSEEN: Any = object()
