"""What can go wrong with a registry."""

from __future__ import annotations

from collections.abc import Iterable

from reactor.contracts import Finding
from reactor.core import TopicError


class RegistryError(TopicError):
    """A schema registry refused, failed or can't be reached. ``code`` is its number for it (40401), 0 for none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class SchemaMissing(RegistryError, LookupError):
    """It has no such subject, version or schema."""


class SchemaIncompatible(RegistryError):
    """It doesn't take a schema as the next version of a subject; ``findings`` say which field and why."""

    def __init__(self, message: str, code: int = 409, findings: Iterable[Finding] = ()) -> None:
        super().__init__(message, code)
        self.findings = tuple(findings)
