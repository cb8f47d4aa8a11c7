"""What wakes those who follow: a subscription of the server's, and a slow look as a net."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from kurrentdbclient import KurrentDBClient, exceptions

from reactor.connectors.loops import AwaitableThread
from reactor.eventstore import kurrent_words as words
from reactor.eventstore.events import ALL

_FIRST, _LAST = 0.05, 5.0


class Bell:
    """Two threads: one that hears of each event, one that calls all each ``poll`` seconds.

    ``heard(streams)`` is called on them when there may be something new: None for all streams.
    """

    def __init__(
        self,
        name: str,
        client: Callable[[], KurrentDBClient],
        poll: float,
        heard: Callable[[Collection[str] | None], None],
    ) -> None:
        self._client = client
        self._poll = poll
        self._heard = heard
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._hurried = threading.Event()
        self._subscription: object = None
        self._threads = [
            AwaitableThread(self._listen, f"reactor listener {name}"),
            AwaitableThread(self._look, f"reactor poll {name}"),
        ]
        for thread in self._threads:
            thread.start()

    def hurry(self, poll: float) -> None:
        """Call all at least each ``poll`` seconds from now on."""
        if poll < self._poll:
            self._poll = poll
            self._hurried.set()

    async def close(self) -> None:
        """End the threads and wait for them."""
        self._stopped.set()
        self._hurried.set()
        with self._lock:
            subscription = self._subscription
        stop = getattr(subscription, "stop", None)
        if stop is not None:
            stop(cancel=True)
        for thread in self._threads:
            await thread.ended()

    # On the threads:

    def _look(self) -> None:
        while not self._stopped.is_set():
            if self._hurried.wait(self._poll):
                self._hurried.clear()
            else:
                self._heard(None)

    def _listen(self) -> None:
        delay = _FIRST
        while not self._stopped.is_set():
            try:
                delay = self._subscribe(delay)
            except (exceptions.KurrentDBClientError, ValueError):
                if self._stopped.is_set():
                    return
            # Who reads looks now, and finds out what it is.
            self._heard(None)
            self._stopped.wait(min(delay, self._poll))
            delay = min(2 * delay, _LAST)

    def _subscribe(self, delay: float) -> float:
        subscription = self._client().subscribe_to_all(from_end=True, **words.filters(ALL))
        with self._lock:
            self._subscription = subscription
        try:
            if self._stopped.is_set():
                return delay
            # What was appended before the subscription began would be heard by nobody.
            self._heard(None)
            for event in subscription:
                delay = _FIRST
                self._heard([event.stream_name])
            return delay
        finally:
            with self._lock:
                self._subscription = None
            subscription.stop()
