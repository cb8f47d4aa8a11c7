"""What a failure means to the reference interpreter: the operator's policy, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from reactor.delivery import DeadLetters, Fail, Fallback, OnError, Skip
from reactor.graph import Node
from reactor.testing.outcome import Failure, Letter, Undetermined

Emit = Callable[[Any], None]


class Skipped(Exception):
    """The event goes no further."""


class Failed(Exception):
    """The event stops the run."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class Enough(Exception):
    """The operator wants no more."""


class Calls:
    """Calls the functions of the user, and keeps what they raise: skipped events, dead letters, failures."""

    def __init__(self, labels: Mapping[Node, str], cut: set[Node], stands_in: Mapping[Any, Any]) -> None:
        self.labels = labels
        self.cut = cut
        """The nodes with an operator behind them that may stop early."""
        self.given = stands_in
        self.stands_in: dict[int, Any] = {id(given): instead for given, instead in stands_in.items()}
        self.letters: list[Letter] = []
        self.skipped: Counter[str] = Counter()
        self.failures: list[Failure] = []

    def guard(self, node: Node, event: Any, fn: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user; what it raises goes to the operator's policy."""
        try:
            return self.instead(fn)(*args)
        except Exception as error:
            return self.given_up(node, event, error)

    def given_up(self, node: Node, event: Any, error: Exception, attempts: int = 1) -> Any:
        if isinstance(error, Undetermined):
            raise error
        policy: OnError = getattr(node.op, "on_error", Fail())
        label = self.labels[node]
        if isinstance(policy, Fallback):
            try:
                return self.instead(policy.fn)(event)
            except Exception as second:
                raise Failed(self.fail(node, event, second)) from error
        if isinstance(policy, Skip):
            self.skipped[label] += 1
            raise Skipped
        if isinstance(policy, DeadLetters):
            self.letters.append(Letter(label, event, error, attempts, node not in self.cut))
            raise Skipped
        raise Failed(self.fail(node, event, error))

    def fail(self, node: Node, event: Any, error: Exception) -> Failure:
        failure = Failure(self.labels[node], event, error)
        self.failures.append(failure)
        return failure

    def items(self, node: Node, event: Any, emit: Emit, fn: Callable[[Any], Any], given: Any) -> None:
        """Emit what the function's iterable gives until it ends or raises; after that, what there is instead."""
        try:
            found = self.instead(fn)(given)
            if isinstance(found, str | bytes):
                raise TypeError(f"{self.labels[node]}: returned a {type(found).__name__}")
            for item in found:
                emit(item)
        except Exception as error:
            try:
                for item in self.given_up(node, event, error):
                    emit(item)
            except (Skipped, Failed, Undetermined):
                raise
            except Exception as second:
                raise Failed(self.fail(node, event, second)) from error

    def instead(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or what stands in for it."""
        instead: Callable[..., Any] = self.stands_in.get(id(fn), fn)
        return instead

    def starred(self, fn: Callable[..., Any]) -> Callable[[Any], Any]:
        """The function of one event whose parts are the arguments."""
        return lambda event: self.instead(fn)(*event)
