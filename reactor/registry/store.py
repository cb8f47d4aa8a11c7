"""The embedded registry's schemas, in a SQLite file that may be that of topics and checkpoints, too."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from reactor.core import ArgumentError
from reactor.registry.canon import canonical, kept, whole
from reactor.registry.codes import (
    BAD_SCHEMA,
    DELETED,
    FORBIDDEN,
    INCOMPATIBLE,
    NO_SCHEMA,
    NO_SUBJECT,
    NO_VERSION,
    NOT_DELETED,
    REFERRED,
    VERSION_DELETED,
    VERSION_NOT_DELETED,
)
from reactor.registry.errors import RegistryError
from reactor.registry.rules import Clash, clashes
from reactor.registry.schemas import Reference, SchemaText, SubjectVersion
from reactor.registry.settings import Settings
from reactor.registry.statements import APPLICATION_ID, TABLES, VERSION

PATIENCE = 10.0
"""Seconds in which another process's transaction should have come to its end."""


class Store:
    """Called from one thread at a time; each call that changes something is one transaction.

    Raises RegistryError with the codes of Confluent's registry.
    """

    def __init__(self, url: str) -> None:
        scheme, colon, path = url.partition(":")
        if scheme != "sqlite" or not colon or not path or path.startswith("//"):
            raise ArgumentError(f"the store {url!r}: write sqlite:PATH, for example sqlite:shop.db")
        self.url = url
        try:
            self._db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise RegistryError(f"{url}: can't be opened: {error}; is its folder there?") from error
        self.settings = Settings(self._db)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def _prepare(self) -> None:
        db = self._db
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_mode = WAL")
            with self._writing():
                if not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for statement in TABLES:
                    db.execute(statement)
                db.execute("INSERT OR IGNORE INTO registry VALUES (1, ?)", (VERSION,))
                (version,) = db.execute("SELECT version FROM registry").fetchone()
        except sqlite3.Error as error:
            raise RegistryError(f"{self.url}: isn't a SQLite file that can be used: {error}") from error
        if version > VERSION:
            raise RegistryError(
                f"{self.url}: its schemas were written by a newer reactor (version {version}, this one knows "
                f"{VERSION}); upgrade reactor-streams"
            )

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # Reading ------------------------------------------------------------------------------------------------

    def subjects(self, prefix: str = "", *, deleted: bool = False) -> list[str]:
        rows = self._db.execute(
            "SELECT DISTINCT subject FROM registry_versions WHERE gone <= ? ORDER BY subject", (deleted,)
        )
        return [subject for (subject,) in rows if subject.startswith(prefix)]

    def versions(self, subject: str, *, deleted: bool = False) -> list[int]:
        rows = self._db.execute(
            "SELECT version FROM registry_versions WHERE subject = ? AND gone <= ? ORDER BY version",
            (subject, deleted),
        ).fetchall()
        if not rows:
            raise self._no_subject(subject)
        return [version for (version,) in rows]

    def version(self, subject: str, version: int | None, *, deleted: bool = False) -> SubjectVersion:
        """Return a version of a subject; None: the newest."""
        which = "ORDER BY version DESC LIMIT 1" if version is None else "AND version = :version"
        row = self._db.execute(
            f"SELECT version, id FROM registry_versions WHERE subject = :subject AND gone <= :gone {which}",
            {"subject": subject, "gone": deleted, "version": version},
        ).fetchone()
        if row is None:
            self.versions(subject, deleted=deleted)
            raise RegistryError(f"Version {version} not found.", NO_VERSION)
        return SubjectVersion(subject, row[0], row[1], self.schema(row[1]))

    def schema(self, id: int) -> SchemaText:
        row = self._db.execute(
            "SELECT format, text, refs FROM registry_schemas WHERE id = ?", (id,)
        ).fetchone()
        if row is None:
            raise RegistryError(f"Schema {id} not found", NO_SCHEMA)
        refs = msgspec.json.decode(row[2], type=tuple[Reference, ...])
        return SchemaText(row[0], row[1], refs)

    def where(self, id: int, *, deleted: bool = False) -> list[tuple[str, int]]:
        """Return the subjects and versions that a schema is."""
        self.schema(id)
        return self._db.execute(
            "SELECT subject, version FROM registry_versions WHERE id = ? AND gone <= ? ORDER BY 1, 2",
            (id, deleted),
        ).fetchall()

    def referred(self, subject: str, version: int) -> list[int]:
        """Return the ids of the schemas that refer to a version."""
        found = self._db.execute(
            "SELECT DISTINCT s.id, s.refs FROM registry_schemas s JOIN registry_versions v ON v.id = s.id "
            "WHERE v.gone = 0 AND s.refs != '[]' ORDER BY s.id"
        ).fetchall()
        return [
            id
            for id, refs in found
            if any(
                (one.subject, one.version) == (subject, version)
                for one in msgspec.json.decode(refs, type=list[Reference])
            )
        ]

    def look_up(self, subject: str, schema: SchemaText, *, deleted: bool = False) -> SubjectVersion:
        """Return the version of a subject that has this schema."""
        self.versions(subject, deleted=deleted)
        found = self._known(subject, *self._canonical(schema), deleted=deleted)
        if found is None:
            raise RegistryError("Schema not found", NO_SCHEMA)
        return self.version(subject, found, deleted=deleted)

    def others(self, schema: SchemaText) -> dict[str, str]:
        """Return the texts that a schema refers to, and those that these do, by name; what is needed first comes
        first."""
        found: dict[str, str] = {}
        for one in schema.references:
            try:
                other = self.version(one.subject, one.version).schema
            except RegistryError as error:
                raise RegistryError(
                    f"No schema reference found for subject {one.subject!r} and version {one.version}: {error}",
                    BAD_SCHEMA,
                ) from error
            found |= self.others(other)
            found[one.name] = other.text
        return found

    # Writing ------------------------------------------------------------------------------------------------

    def register(self, subject: str, schema: SchemaText) -> SubjectVersion:
        """Make it the subject's next version, unless it is one already."""
        with self._writing():
            found = self._canonical(schema)
            known = self._known(subject, *found)
            if known is not None:
                return self.version(subject, known)
            if self.settings.mode(subject) in ("READONLY", "READONLY_OVERRIDE"):
                raise RegistryError(f"Subject {subject} is in read-only mode", FORBIDDEN)
            clash = self.clashes(subject, schema)
            if clash:
                raise RegistryError(
                    "Schema being registered is incompatible with an earlier schema for subject "
                    f'"{subject}", details: {[str(one) for one in clash]}; compatibility: '
                    f"{self.settings.level(subject)}",
                    INCOMPATIBLE,
                )
            self._insert(subject, schema, *found)
        return self.version(subject, None)

    def _insert(self, subject: str, schema: SchemaText, canon: str, refs: str) -> None:
        db = self._db
        row = db.execute(
            "SELECT id FROM registry_schemas WHERE format = ? AND canon = ? AND refs = ?",
            (schema.format, canon, refs),
        ).fetchone()
        if row is None:
            row = db.execute(
                "INSERT INTO registry_schemas (format, text, canon, refs) VALUES (?, ?, ?, ?) RETURNING id",
                (schema.format, kept(schema), canon, refs),
            ).fetchone()
        db.execute(
            "INSERT INTO registry_versions SELECT ?, coalesce(max(version), 0) + 1, ?, 0 "
            "FROM registry_versions WHERE subject = ?",
            (subject, row[0], subject),
        )

    def clashes(self, subject: str, schema: SchemaText, version: int | None = None) -> list[Clash]:
        """Return why the subject doesn't take this schema; with ``version``, compared with only that one."""
        level = self.settings.level(subject)
        numbers = [version] if version is not None else self._present(subject)
        olds = [self.version(subject, number).schema for number in numbers]
        try:
            return clashes(
                self._whole(schema),
                [(number, self._whole(old)) for number, old in zip(numbers, olds, strict=True)],
                level,
            )
        except ValueError as error:
            raise RegistryError(f"Invalid schema: {error}", BAD_SCHEMA) from error

    def validate(self, schema: SchemaText) -> None:
        """Raise RegistryError where it is no schema."""
        self._canonical(schema)

    def _whole(self, schema: SchemaText) -> SchemaText:
        return whole(schema, [*self.others(schema).values()]) if schema.references else schema

    def _present(self, subject: str) -> Sequence[int]:
        rows = self._db.execute(
            "SELECT version FROM registry_versions WHERE subject = ? AND gone = 0 ORDER BY version",
            (subject,),
        )
        return [version for (version,) in rows]

    def _canonical(self, schema: SchemaText) -> tuple[str, str]:
        try:
            canon = canonical(schema, self.others(schema))
        except (ValueError, RecursionError) as error:
            raise RegistryError(f"Invalid schema: {error}", BAD_SCHEMA) from error
        return canon, msgspec.json.encode(schema.references).decode()

    def _known(self, subject: str, canon: str, refs: str, *, deleted: bool = False) -> int | None:
        row = self._db.execute(
            "SELECT max(v.version) FROM registry_versions v JOIN registry_schemas s ON s.id = v.id "
            "WHERE v.subject = ? AND s.canon = ? AND s.refs = ? AND v.gone <= ?",
            (subject, canon, refs, deleted),
        ).fetchone()
        return None if row is None else row[0]

    def delete(self, subject: str, version: int | None, *, permanent: bool) -> list[int]:
        """Delete a version, or all: first so that they aren't listed; then for good. Schemas keep their ids."""
        with self._writing():
            rows = self._db.execute(
                "SELECT version, gone FROM registry_versions WHERE subject = ? ORDER BY version", (subject,)
            )
            every: dict[int, int] = dict(rows.fetchall())
            if not every:
                raise self._no_subject(subject)
            which = [*every] if version is None else [version]
            if version is not None and version not in every:
                raise RegistryError(f"Version {version} not found.", NO_VERSION)
            self._deletable(subject, version, which, every, permanent)
            which = [number for number in which if permanent or not every[number]]
            for number in which:
                users = self.referred(subject, number)
                if users:
                    raise RegistryError(
                        f"One or more references exist to the schema {subject}, version {number}: ids {users}",
                        REFERRED,
                    )
            statement = (
                "DELETE FROM registry_versions" if permanent else "UPDATE registry_versions SET gone = 1"
            )
            self._db.executemany(
                f"{statement} WHERE subject = ? AND version = ?", [(subject, number) for number in which]
            )
        return which

    def _deletable(
        self,
        subject: str,
        version: int | None,
        which: Sequence[int],
        gone: Mapping[int, int],
        permanent: bool,
    ) -> None:
        if self.settings.mode(subject) in ("READONLY", "READONLY_OVERRIDE"):
            raise RegistryError(f"Subject {subject} is in read-only mode", FORBIDDEN)
        first = "was not deleted first before being permanently deleted"
        if permanent and not all(gone[number] for number in which):
            if version is None:
                raise RegistryError(f"Subject '{subject}' {first}", NOT_DELETED)
            raise RegistryError(f"Subject '{subject}' Version {version} {first}", VERSION_NOT_DELETED)
        if not permanent and all(gone[number] for number in which):
            if version is None:
                raise RegistryError(f"Subject '{subject}' was soft deleted.", DELETED)
            raise RegistryError(f"Subject '{subject}' Version {version} was soft deleted.", VERSION_DELETED)

    def _no_subject(self, subject: str) -> RegistryError:
        return RegistryError(f"Subject '{subject}' not found.", NO_SUBJECT)
