"""Patterns of topics: ``kafka://host/^orders-`` is all topics whose names begin so."""

from __future__ import annotations

import re

from reactor.core import ArgumentError


def is_pattern(path: str) -> bool:
    """True for a regular expression, which begins with ``^`` as no name of a topic does."""
    return path.startswith("^")


class Pattern:
    """Matches names from their beginning; up to their end where it ends with ``$``."""

    def __init__(self, path: str) -> None:
        self._match = re.compile(path).match
        self._hidden = path.startswith("^__")

    def matches(self, topic: str) -> bool:
        """Kafka's own topics, and ours (``__...``), are nobody's events, unless the pattern says so."""
        return (self._hidden or not topic.startswith("__")) and self._match(topic) is not None


def check_topic(url: str, path: str) -> None:
    """Raise ArgumentError for what is neither a topic's name nor a pattern."""
    if is_pattern(path):
        if "/" in path:
            raise ArgumentError(f"topic({url!r}): {path!r} can't match: no name of a topic has a /")
        try:
            re.compile(path)
        except re.error as error:
            raise ArgumentError(
                f"topic({url!r}): {path!r} is no regular expression: {error}; in a URL, write %3F for ?, %23 for "
                "# and %25 for %"
            ) from None
    elif not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", path) or path in (".", ".."):
        raise ArgumentError(
            f"topic({url!r}): a topic of Kafka has up to 249 of the characters a-z A-Z 0-9 . _ -; a pattern of "
            "topics begins with ^"
        )


def only_read(url: str, path: str) -> ArgumentError:
    """Return the error of who would write to a pattern."""
    return ArgumentError(
        f"topic({url!r}): {path} is a pattern of topics, which can only be read; write to one topic, by its name"
    )
