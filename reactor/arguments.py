"""The checks of arguments that several operators share: what can't work is said at once, with the fix."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any, Literal, cast

from reactor.core import ArgumentError, duration
from reactor.delivery import CircuitBreaker, Fail, OnError, Retry
from reactor.graph import name_of
from reactor.operators import NOTHING, Call, Emit, Order

MISSING: Any = NOTHING

DEFAULTS: dict[str, Any] = {
    "concurrency": None,
    "ordered": True,
    "threads": None,
    "processes": None,
    "key": None,
    "timeout": None,
    "retry": None,
    "breaker": None,
    "on_error": Fail(),
    "name": None,
}


def settings(*values: Any) -> dict[str, Any]:
    """Name the values, in the order of DEFAULTS."""
    return dict(zip(DEFAULTS, values, strict=True))


def completed(verb: str, how: dict[str, Any]) -> dict[str, Any]:
    """Add the defaults of what wasn't passed."""
    unknown = how.keys() - DEFAULTS.keys()
    if unknown:
        raise ArgumentError(f"{verb}({', '.join(unknown)}=): takes {', '.join(DEFAULTS)}")
    return DEFAULTS | how


def pooled(
    verb: str, fn: Callable[..., Any], emit: Emit, how: dict[str, Any], star: bool = False
) -> Call | None:
    """A pool where one is needed: to await, for threads or processes, or to wait between attempts."""
    if not callable(fn):
        raise ArgumentError(f"{verb}({fn!r}): the first argument is a function")
    policy(verb, how["on_error"])
    retrying(verb, how["retry"])
    seconds = None if how["timeout"] is None else duration(how["timeout"], f"{verb}(timeout")
    sizes = {word: how[word] for word in ("concurrency", "threads", "processes") if how[word] is not None}
    if len(sizes) > 1:
        raise ArgumentError(
            f"{verb}({', '.join(f'{word}=' for word in sizes)}): only one of them makes sense"
        )
    for word, size in sizes.items():
        whole(f"{verb}({word}", size, 1)
    key, retry, breaker = how["key"], how["retry"], how["breaker"]
    if key is not None:
        key = refusing(key, f"{verb}(key=")
        if not how["ordered"]:
            raise ArgumentError(f"{verb}(key=, ordered=False): with key= the order is kept within each key")
    awaits = is_async(fn)
    if awaits and ("threads" in sizes or "processes" in sizes):
        raise ArgumentError(
            f"{verb}({name_of(fn)}, {next(iter(sizes))}=): is for sync functions; use concurrency="
        )
    where: Literal["loop", "inline", "thread", "process"] = "loop"
    if "threads" in sizes:
        where = "thread"
    elif "processes" in sizes:
        where = "process"
    elif not awaits and "concurrency" not in sizes:
        if seconds is not None:
            raise ArgumentError(
                f"{verb}({name_of(fn)}, timeout=): a sync function can't be interrupted; make it async, or pass "
                "threads= or processes="
            )
        if key is not None or not how["ordered"]:
            raise ArgumentError(
                f"{verb}({name_of(fn)}): key= and ordered= need concurrency=, threads= or processes="
            )
        if retry is None and breaker is None:
            return None
        where = "inline"
    order: Order = "key" if key is not None else "input" if how["ordered"] else "done"
    size = next(iter(sizes.values()), 1)
    breaking(verb, breaker, retry, how["on_error"], size)
    outputs = int(emit != "none")
    return Call(
        verb, fn, size, emit, order, key, seconds, retry, how["on_error"], star, where, outputs, breaker
    )


def gives_streams(verb: str, fn: Any, how: dict[str, Any]) -> bool:
    """True when what the function returns may be a stream of its own; checks what such a function takes."""
    if not callable(fn):
        raise ArgumentError(f"{verb}({fn!r}): the first argument is a function")
    generates = is_async_generator(fn)
    words = ("threads", "processes", "key", "timeout", "retry", "breaker")
    apart = [word for word in words if how[word] is not None]
    if not generates and verb == "flat_map" and (how["concurrency"] is None or apart or is_async(fn)):
        return False
    for word in apart:
        raise ArgumentError(
            f"{verb}({name_of(fn)}, {word}=): not with an async generator function, which may have given items "
            f"before it fails; use {word}= around the calls inside of it"
            if word in ("timeout", "retry", "breaker")
            else f"{verb}({name_of(fn)}, {word}=): not with an async generator function; use concurrency="
        )
    if how["concurrency"] is not None:
        whole(f"{verb}(concurrency", how["concurrency"], 1)
    policy(verb, how["on_error"])
    return True


def is_async_generator(fn: Any) -> bool:
    """True for an async generator function, or an object whose ``__call__`` is one."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.isasyncgenfunction(fn) or inspect.isasyncgenfunction(
        type(fn).__call__ if callable(fn) else None
    )


def policy(verb: str, on_error: Any) -> OnError:
    """Return what is one of the four ends of a failure."""
    if not isinstance(on_error, OnError):
        raise ArgumentError(
            f"{verb}(on_error={on_error!r}): must be Fail(), Skip(), DeadLetters() or Fallback(fn)"
        )
    return on_error


def retrying(verb: str, retry: Any) -> Retry | None:
    """Return what is a Retry, or None."""
    if retry is not None and not isinstance(retry, Retry):
        raise ArgumentError(f"{verb}(retry={retry!r}): must be a Retry(...)")
    return retry


def breaking(verb: str, breaker: Any, retry: Retry | None, on_error: OnError, concurrency: int = 1) -> Any:
    """Return what is a CircuitBreaker that can ever open, or None."""
    if breaker is None:
        return None
    if not isinstance(breaker, CircuitBreaker):
        raise ArgumentError(f"{verb}(breaker={breaker!r}): must be a CircuitBreaker(...)")
    calls = 1 if retry is None else retry.calls
    before = concurrency * (calls - 1) + 1
    if isinstance(on_error, Fail) and before < breaker.failures:
        raise ArgumentError(
            f"{verb}(breaker=): after {before} failure{'s'[: before != 1]} in a row the run fails, before "
            f"failures={breaker.failures} open the circuit; pass retry= with more calls, another on_error=, or "
            "fewer failures="
        )
    return breaker


def is_async(fn: Callable[..., Any]) -> bool:
    """True for a coroutine function, or an object with an async ``__call__``."""
    inner: Any = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.isasyncgenfunction(inner):
        raise ArgumentError(
            f"{name_of(fn)}: an async generator function; it can be a source, or go to flat_map(), or to through()"
        )
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        type(inner).__call__ if callable(inner) else None
    )


def sync(fn: Any, verb: str) -> Callable[..., Any]:
    """Return the function, which must not be async."""
    if not callable(fn):
        raise ArgumentError(f"{verb}({fn!r}): has to be a function")
    if is_async(fn):
        raise ArgumentError(f"{verb}({name_of(fn)}): this function has to be sync")
    return cast("Callable[..., Any]", fn)


def refusing(fn: Callable[[Any], Any], verb: str) -> Callable[[Any], Any]:
    """Return the function, with a look at its results: what has to be awaited is no key, cost or answer."""
    sync(fn, verb)

    @functools.wraps(fn, updated=())
    def looked_at(event: Any) -> Any:
        result = fn(event)
        if type(result) is CoroutineType:
            result.close()
            raise ArgumentError(
                f"{verb}({name_of(fn)}): a sync function returned an awaitable; it has to be sync"
            )
        return result

    return looked_at


def start(verb: str, initial: Any, factory: Callable[[], Any] | None) -> Callable[[], Any]:
    if (initial is MISSING) is (factory is None):
        raise ArgumentError(f"{verb}(): pass either an initial state or factory=")
    if factory is not None:
        if not callable(factory):
            raise ArgumentError(
                f"{verb}(factory={factory!r}): must be a function that returns the initial state"
            )
        return factory
    if isinstance(initial, list | dict | set | bytearray):
        kind = type(initial).__name__
        raise ArgumentError(
            f"{verb}(initial={initial!r}): a {kind} would be shared by all runs; pass factory={kind}"
        )
    return lambda: initial


def whole(where: str, value: int, least: int) -> int:
    """Return the number if it is whole and large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{where}={value!r}): must be a whole number >= {least}")
    return value


def shown(target: Any) -> str:
    return name_of(target) if callable(target) else type(target).__name__
