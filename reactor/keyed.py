"""Streams grouped by key: a state of its own for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast, overload

from reactor.arguments import MISSING, policy, start, sync
from reactor.delivery import Fail, OnError
from reactor.operators import Scan
from reactor.stream import Stream

__all__ = ["Keyed"]

K = TypeVar("K")
U = TypeVar("U")
T = TypeVar("T")


class Keyed(Generic[K, T]):
    """What ``stream.key_by(key)`` returns. States live as long as the run: memory grows with the keys."""

    __slots__ = ("_key", "_stream")

    def __init__(self, stream: Stream[T], key: Callable[[T], K]) -> None:
        self._stream = stream
        self._key = key

    def reduce(
        self,
        fn: Callable[[T, T], T],
        *,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[tuple[K, T]]:
        """Combine the events of each key, and emit ``(key, what they have come to)`` after each.

        Emits when: an event has come; the first of a key as it is.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        op = Scan(
            sync(fn, "reduce"), _nothing, self._key, volatile, policy("reduce", on_error), emits_first=True
        )
        return cast("Stream[tuple[K, T]]", self._stream._then(op, name))

    @overload
    def scan(
        self,
        fn: Callable[[U, T], U],
        initial: U,
        *,
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[tuple[K, U]]: ...
    @overload
    def scan(
        self,
        fn: Callable[[U, T], U],
        *,
        factory: Callable[[], U],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[tuple[K, U]]: ...

    def scan(
        self,
        fn: Callable[[Any, Any], Any],
        initial: Any = MISSING,
        *,
        factory: Callable[[], Any] | None = None,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[tuple[K, Any]]:
        """Fold the events of each key, and emit ``(key, state)`` after each.

        Emits when: the function has returned the new state.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        op = Scan(
            sync(fn, "scan"), start("scan", initial, factory), self._key, volatile, policy("scan", on_error)
        )
        return self._stream._then(op, name)


def _nothing() -> None:
    return None
