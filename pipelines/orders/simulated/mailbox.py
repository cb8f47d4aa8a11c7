"""A mail server: aiosmtpd, with one mailbox that keeps each Message-ID once."""

from __future__ import annotations

import sqlite3
from email.parser import BytesHeaderParser
from pathlib import Path

import anyio
from aiosmtpd.smtp import SMTP, Envelope, Session
from anyio import to_thread

BLOCKED = "blocked.example"
"""Mail to this domain is refused for good."""


class Mailbox:
    """The mails, in SQLite. Its calls block."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS mails (message_id TEXT PRIMARY KEY, recipient TEXT NOT NULL,"
            " subject TEXT NOT NULL, content BLOB NOT NULL, deliveries INTEGER NOT NULL) WITHOUT ROWID"
        )
        self._headers = BytesHeaderParser()

    def store(self, recipient: str, content: bytes) -> None:
        """Keep the mail; one that came before is only counted."""
        headers = self._headers.parsebytes(content)
        self._db.execute(
            "INSERT INTO mails VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT (message_id) DO UPDATE SET deliveries = deliveries + 1",
            (headers["Message-ID"] or "", recipient, headers["Subject"] or "", content),
        )

    def close(self) -> None:
        self._db.close()


class MailHandler:
    """What aiosmtpd asks; the names are its."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._one = anyio.CapacityLimiter(1)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.endswith("@" + BLOCKED):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        for recipient in envelope.rcpt_tos:
            await to_thread.run_sync(self._mailbox.store, recipient, content, limiter=self._one)
        return "250 2.0.0 stored"
