"""A payment gateway: slow, sometimes out of order or too busy, declining some cards, idempotent by key."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

FASTEST = 0.04
SLOWEST = 0.12
RETRY_AFTER = 1
"""Seconds; whole ones, as HTTP has it."""


class Trouble(Enum):
    """What an attempt may run into."""

    FAILS = "500, nothing charged"
    LOSES_ANSWER = "500, although it was charged"
    BUSY = "429"


@dataclass(frozen=True)
class Rule:
    """What the gateway does to the charges of one idempotency key."""

    declined: bool
    troubles: tuple[Trouble, ...]
    """One for each of the first attempts; the next one is answered."""
    delay: float
    """Seconds, of each attempt."""

    @property
    def seconds(self) -> float:
        """How long a client has to wait in all until it has the answer."""
        busy = sum(trouble is Trouble.BUSY for trouble in self.troubles)
        return self.delay * (1 + len(self.troubles)) + RETRY_AFTER * busy


def rule(key: str) -> Rule:
    """Return the rule: 1.5 % are declined, 3 % fail once, 0.3 % twice, 1 % meet a busy gateway."""
    digest = hashlib.sha256(key.encode()).digest()
    declined, failing, busy, slow = (
        int.from_bytes(digest[start : start + 4]) / 2**32 for start in (0, 4, 8, 12)
    )
    failure = Trouble.LOSES_ANSWER if digest[16] & 1 else Trouble.FAILS
    troubles = [Trouble.BUSY] if busy < 0.01 else []
    troubles += [failure] * (2 if failing < 0.003 else 1 if failing < 0.03 else 0)
    return Rule(declined < 0.015, tuple(troubles), round(FASTEST + (SLOWEST - FASTEST) * slow, 4))


class ChargeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    amount: Decimal
    currency: str
    customer: str


class Charge(Struct, frozen=True):
    """The gateway's answer."""

    id: str
    status: str
    amount: Decimal
    reason: str | None = None


class Books:
    """The charges, in SQLite. Its calls block."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS charges (key TEXT PRIMARY KEY, request BLOB NOT NULL,"
            " id TEXT NOT NULL, status TEXT NOT NULL, amount TEXT NOT NULL) WITHOUT ROWID"
        )

    def find(self, key: str) -> tuple[bytes, Charge] | None:
        """Return the request that was booked under the key, and its answer."""
        query = "SELECT request, id, status, amount FROM charges WHERE key = ?"
        row = self._db.execute(query, (key,)).fetchone()
        return row and (row[0], _charge(row[1], row[2], Decimal(row[3])))

    def book(self, key: str, request: bytes, charge: Charge) -> None:
        """Enter it; what is booked under the key already stays."""
        self._db.execute(
            "INSERT OR IGNORE INTO charges VALUES (?, ?, ?, ?, ?)",
            (key, request, charge.id, charge.status, str(charge.amount)),
        )

    def close(self) -> None:
        self._db.close()


def _charge(id: str, status: str, amount: Decimal) -> Charge:
    return Charge(id, status, amount, "the card was declined" if status == "declined" else None)


class Gateway:
    """``POST /charges`` with an Idempotency-Key: 200 approved, 402 declined.

    A key that was used for another charge gets 409, a request that isn't one 400.
    """

    def __init__(self, books: Books, slowness: float = 1.0) -> None:
        self._books = books
        self._slowness = slowness
        self._attempts: dict[str, int] = {}
        # SQLite's calls take turns, on a thread.
        self._one = anyio.CapacityLimiter(1)
        self._decode = msgspec.json.Decoder(ChargeRequest).decode
        self.app = Starlette(routes=[Route("/charges", self.charge, methods=["POST"])])

    async def charge(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key", "")
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            wanted = self._decode(body)
        except (msgspec.MsgspecError, InvalidOperation, ValueError) as error:
            return _answer(400, {"error": str(error)})
        if not key or wanted.amount <= 0:
            return _answer(400, {"error": "an Idempotency-Key and an amount above 0 are needed"})
        to = rule(key)
        await anyio.sleep(to.delay * self._slowness)
        found = await to_thread.run_sync(self._books.find, key, limiter=self._one)
        if found is not None and found[0] != body:
            return _answer(409, {"error": "this Idempotency-Key was used for another charge"})
        attempt = self._attempts.get(key, 0)
        trouble = to.troubles[attempt] if attempt < len(to.troubles) else None
        self._attempts[key] = attempt + 1
        if trouble is Trouble.BUSY:
            return _answer(429, {"error": "too many requests"}, {"retry-after": str(RETRY_AFTER)})
        if trouble is Trouble.FAILS:
            return _answer(500, {"error": "internal error"})
        if found is not None:
            charge = found[1]
        else:
            id = "ch_" + hashlib.sha256(b"charge " + key.encode()).hexdigest()[:16]
            charge = _charge(id, "declined" if to.declined else "approved", wanted.amount)
            await to_thread.run_sync(self._books.book, key, body, charge, limiter=self._one)
        if trouble is Trouble.LOSES_ANSWER:
            return _answer(500, {"error": "internal error"})
        self._attempts.pop(key, None)
        return _answer(402 if charge.status == "declined" else 200, charge)


def _answer(status: int, content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")
