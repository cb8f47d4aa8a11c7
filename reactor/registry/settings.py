"""Levels of compatibility and modes, of subjects and of all of them."""

from __future__ import annotations

import sqlite3

from reactor.core import ArgumentError
from reactor.registry.codes import BAD_LEVEL, BAD_MODE, NO_LEVEL, NO_MODE
from reactor.registry.errors import RegistryError
from reactor.registry.rules import Level, level_of

EVERY = ""
"""The subject under which the level and mode of all of them stand."""
MODES = ("READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT", "FORWARD")


class Settings:
    """What is set for subjects; a part of the store."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def level(self, subject: str = EVERY, *, own: bool = False) -> Level:
        """Return a subject's level; that of all where it has none, unless its ``own`` is asked for."""
        found = self._setting("level", subject, own)
        if found is None and own and subject:
            what = "does not have subject-level compatibility configured"
            raise RegistryError(f"Subject '{subject}' {what}", NO_LEVEL)
        return level_of(found or "BACKWARD")

    def set_level(self, level: str | None, subject: str = EVERY) -> Level:
        """Set it; None: what it was at first, that of all."""
        try:
            found = None if level is None else level_of(level)
        except ArgumentError as error:
            raise RegistryError(f"Invalid compatibility level: {error}", BAD_LEVEL) from error
        self._set("level", found, subject)
        return found or self.level(subject)

    def mode(self, subject: str = EVERY, *, own: bool = False) -> str:
        found = self._setting("mode", subject, own)
        if found is None and own and subject:
            raise RegistryError(f"Subject '{subject}' does not have subject-level mode configured", NO_MODE)
        return found or "READWRITE"

    def set_mode(self, mode: str | None, subject: str = EVERY) -> str:
        if mode is not None and mode.upper() not in MODES:
            raise RegistryError(f"Invalid mode {mode}. Valid values are {', '.join(MODES)}", BAD_MODE)
        self._set("mode", None if mode is None else mode.upper(), subject)
        return self.mode(subject)

    def _setting(self, name: str, subject: str, own: bool) -> str | None:
        for one in dict.fromkeys([subject] if own else [subject, EVERY]):
            row = self._db.execute(
                f"SELECT {name} FROM registry_settings WHERE subject = ?", (one,)
            ).fetchone()
            if row is not None and row[0] is not None:
                return str(row[0])
        return None

    def _set(self, name: str, value: str | None, subject: str) -> None:
        self._db.execute(
            f"INSERT INTO registry_settings (subject, {name}) VALUES (?, ?) "
            f"ON CONFLICT (subject) DO UPDATE SET {name} = excluded.{name}",
            (subject, value),
        )
