"""Streams and consumers: finding them, and making them where there are none."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from reactor.connectors.log import From
from reactor.connectors.nats.link import ApiError, Link
from reactor.connectors.nats.settings import Nats
from reactor.core import ArgumentError, TopicError

_NO_STREAM = 10059
_NO_CONSUMER = 10014
_NO_MESSAGE = 10037
_SECOND = 1_000_000_000
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class Stream(NamedTuple):
    """Where a topic is kept."""

    name: str
    last: int
    """The sequence of the topic's last message as of looking; 0: it has none."""
    largest: int
    """Bytes of the largest message that the stream takes; -1: it doesn't say."""
    end: int
    """The sequence of the stream's last message, of whatever topic."""
    created: str
    """When the stream was made."""


def checked(subject: str, url: str) -> str:
    """Return a topic's name, which is its subject. Raises ArgumentError for one that can't be."""
    tokens = subject.split(".")
    if not all(tokens) or any(each in ("*", ">") for each in tokens) or any(map(str.isspace, subject)):
        raise ArgumentError(
            f"topic({url!r}): a topic at NATS is a subject without wildcards and spaces, such as shop.orders"
        )
    if subject.startswith(("$", "_INBOX.")):
        raise ArgumentError(f"topic({url!r}): subjects that begin with $ or _INBOX are the server's own")
    return subject


def stream_of(subject: str) -> str:
    """Return the name of the stream that is made for a subject."""
    return _ODD.sub("_", subject)


def consumer_of(group: str) -> str:
    """Return the name of a group's consumer: the group's own, where it can be one."""
    name = _ODD.sub("_", group)
    if name == group and len(name) <= 100:
        return name
    return f"{name[:80]}-{hashlib.sha256(group.encode()).hexdigest()[:12]}"


async def find(link: Link, subject: str, settings: Nats, what: str, *, create: bool) -> Stream:
    """Return the stream of a subject, a new one where there is none and it is wanted."""
    try:
        name = settings.stream
        if name is None:
            names = (await link.api("STREAM.NAMES", subject=subject)).get("streams") or []
            name = names[0] if names else None
        if name is not None:
            try:
                info = await link.api(f"STREAM.INFO.{name}")
            except ApiError as error:
                if error.err_code != _NO_STREAM:
                    raise
                info = None
            if info is not None:
                # A mirror has no subjects of its own.
                subjects = info["config"].get("subjects")
                if subjects and not any(_covers(each, subject) for each in subjects):
                    raise TopicError(
                        f"{what}: stream {name} doesn't take the subject {subject}; add it there"
                    )
                return await _looked_at(link, info, subject)
        if not create:
            raise TopicError(
                f"{what}: no stream has the subject {subject}; make one, or leave out create=false"
            )
        return await _looked_at(link, await _make(link, name, subject, settings, what), subject)
    except ApiError as error:
        raise TopicError(f"{what}: {error}") from error


async def _looked_at(link: Link, info: dict[str, Any], subject: str) -> Stream:
    config, name = info["config"], info["config"]["name"]
    last = end = info["state"]["last_seq"]
    if last and config.get("subjects") != [subject]:
        try:
            found = await link.api(f"STREAM.MSG.GET.{name}", last_by_subj=subject)
            last = found["message"]["seq"]
        except ApiError as error:
            if error.err_code != _NO_MESSAGE:
                raise
            last = 0
    return Stream(name, last, config.get("max_msg_size", -1), end, info["created"])


async def _make(link: Link, name: str | None, subject: str, settings: Nats, what: str) -> dict[str, Any]:
    name = name or stream_of(subject)
    window = settings.duplicate_window
    if settings.max_age:
        window = min(window, settings.max_age)
    try:
        return await link.api(
            f"STREAM.CREATE.{name}",
            name=name,
            subjects=[subject],
            retention="limits",
            storage=settings.storage,
            num_replicas=settings.replicas,
            max_age=round(settings.max_age * _SECOND),
            max_bytes=settings.max_bytes or -1,
            discard=settings.discard,
            duplicate_window=round(window * _SECOND),
        )
    except ApiError:
        # Somebody else may have made it at the same time; or the name is another topic's.
        info = await link.api(f"STREAM.INFO.{name}")
        if subject not in info["config"].get("subjects", ()):
            raise TopicError(
                f"{what}: a stream {name} is there, for {', '.join(info['config'].get('subjects', ()))}; "
                f"name another one with stream="
            ) from None
        return info


async def join(
    link: Link, stream: str, group: str, subject: str, settings: Nats, start: From, what: str, *, create: bool
) -> dict[str, Any]:
    """Return the state of the group's consumer, a new one where there is none."""
    name = consumer_of(group)
    try:
        info = await _info(link, stream, name)
        if info is None and create:
            config = {
                "name": name,
                "durable_name": name,
                "description": f"reactor group {group}",
                "ack_policy": "explicit",
                "ack_wait": round(settings.ack_wait * _SECOND),
                "max_ack_pending": -1,
                "max_deliver": -1,
                "filter_subject": subject,
                **starting(start),
            }
            try:
                info = await link.api(f"CONSUMER.CREATE.{stream}.{name}", stream_name=stream, config=config)
            except ApiError:
                info = await _info(link, stream, name)  # another reader may have been faster
                if info is None:
                    raise
    except ApiError as error:
        raise TopicError(f"{what}: group {group}: {error}") from error
    if info is None:
        raise TopicError(f"{what}: the consumer {name} of group {group} was deleted while it was in use")
    found = info["config"]
    if found.get("deliver_subject") or found["ack_policy"] != "explicit":
        raise TopicError(f"{what}: consumer {name} isn't one that is pulled and acknowledges one by one")
    filters = [found["filter_subject"]] if found.get("filter_subject") else found.get("filter_subjects")
    if filters and not any(_covers(each, subject) for each in filters):
        raise TopicError(f"{what}: consumer {name} is for {', '.join(filters)}; name the group otherwise")
    return info


async def read_from(link: Link, stream: str, name: str, subject: str, start: From | int) -> dict[str, Any]:
    """Make the consumer of a reader without a group: in order, without acknowledgements."""
    config = {
        "name": name,
        "ack_policy": "none",
        "max_deliver": -1,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 300 * _SECOND,
        "filter_subject": subject,
        **starting(start),
    }
    return await link.api(f"CONSUMER.CREATE.{stream}.{name}", stream_name=stream, config=config)


async def consumer_info(link: Link, stream: str, name: str, what: str) -> dict[str, Any]:
    """Return the state of a consumer that is there."""
    try:
        return await link.api(f"CONSUMER.INFO.{stream}.{name}")
    except ApiError as error:
        raise TopicError(f"{what}: consumer {name}: {error}") from error


def starting(start: From) -> dict[str, object]:
    """Return where a new consumer begins; a number is a sequence."""
    if isinstance(start, datetime):
        time = start.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return {"deliver_policy": "by_start_time", "opt_start_time": time}
    if isinstance(start, int):
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(start, 1)}
    return {"deliver_policy": "new" if start == "latest" else "all"}


async def _info(link: Link, stream: str, name: str) -> dict[str, Any] | None:
    try:
        return await link.api(f"CONSUMER.INFO.{stream}.{name}")
    except ApiError as error:
        if error.err_code != _NO_CONSUMER:
            raise
        return None


def _covers(pattern: str, subject: str) -> bool:
    """Whether a subject with wildcards takes this one."""
    ours = subject.split(".")
    theirs = pattern.split(".")
    for at, token in enumerate(theirs):
        if token == ">":
            return len(ours) > at
        if at >= len(ours) or token not in ("*", ours[at]):
            return False
    return len(ours) == len(theirs)
