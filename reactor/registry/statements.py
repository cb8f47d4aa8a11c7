"""The tables of the embedded registry."""

from __future__ import annotations

VERSION = 1
APPLICATION_ID = 0x72656163
"""Marks files of reactor: the same as in a topic's log, which may come to stand in the same file."""
TABLES = (
    "CREATE TABLE IF NOT EXISTS registry (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)",
    # AUTOINCREMENT: the id of a schema is never another's.
    "CREATE TABLE IF NOT EXISTS registry_schemas ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, format TEXT NOT NULL, text TEXT NOT NULL, canon TEXT NOT NULL, "
    "refs TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS registry_canon ON registry_schemas (canon)",
    "CREATE TABLE IF NOT EXISTS registry_versions ("
    "subject TEXT NOT NULL, version INTEGER NOT NULL, id INTEGER NOT NULL REFERENCES registry_schemas, "
    "gone INTEGER NOT NULL, PRIMARY KEY (subject, version)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS registry_settings ("
    "subject TEXT PRIMARY KEY, level TEXT, mode TEXT) WITHOUT ROWID",
)
