"""Where the checkpoints of pipelines are kept: in a SQLite file, or in memory.

``holders`` names runs so that others can tell whether they are alive, ``kept`` is what stands beside the rows,
``memory`` is one store. Of the other, ``file`` opens and checks the file and has the thread that works on it,
``spool`` takes in new rows, ``statements`` is the SQL, ``sqlite`` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable

from reactor.connectors.states.holders import done, holder, is_gone
from reactor.connectors.states.memory import MemoryStates, forget
from reactor.connectors.states.sqlite import SqliteStates
from reactor.core import ArgumentError
from reactor.delivery import CheckpointStore

__all__ = ["MemoryStates", "SqliteStates", "done", "forget", "holder", "is_gone", "state_store"]


def _sqlite(url: str, rest: str) -> CheckpointStore:
    if not rest.strip("/") or rest.endswith("/"):
        raise ArgumentError(f"state_store({url!r}): write sqlite:PATH, for example sqlite:state.db")
    return SqliteStates(url, rest)


def _memory(url: str, rest: str) -> CheckpointStore:
    if not rest:
        raise ArgumentError(f"state_store({url!r}): write memory:NAME, for example memory:billing")
    return MemoryStates(url, rest)


_schemes: dict[str, Callable[[str, str], CheckpointStore]] = {"sqlite": _sqlite, "memory": _memory}


def state_store(url: str, /) -> CheckpointStore:
    """Return the store at ``url``; nothing is opened yet. Raises ArgumentError for a URL that can't be one."""
    known = ", ".join(f"{scheme}:" for scheme in _schemes)
    if not isinstance(url, str):
        raise ArgumentError(f"state_store({url!r}): the argument is a URL; known schemes: {known}")
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise ArgumentError(f"state_store({url!r}): has no scheme; known schemes: {known}")
    if scheme not in _schemes:
        raise ArgumentError(f"state_store({url!r}): unknown scheme {scheme!r}; known schemes: {known}")
    if not rest.isprintable():
        raise ArgumentError(
            f"state_store({url!r}): the URL has characters that can't be printed; leave them out"
        )
    return _schemes[scheme](url, rest)
