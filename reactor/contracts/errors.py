"""What can be wrong with a payload; all of them are DecodeErrors, and so become dead letters.

ContractError (DecodeError)
 ├── UnknownType        its name is none of those that were asked for
 ├── NewerVersion       it was written by newer code
 ├── MissingUpcaster    it is older, and a step of its way to the current version is missing
 ├── UpcastFailed       an upcaster raised, or returned what no payload can be
 └── PayloadMismatch    it doesn't fit the type; ``path`` says where
"""

from __future__ import annotations

import re
from typing import TypeVar

from reactor.core import DecodeError

E = TypeVar("E", bound="ContractError")

_AT = re.compile(r" - at (?:`key` in )?`(\$[^`]*)`$")


class ContractError(DecodeError):
    """A payload isn't what its contract says. ``type`` and ``version`` are those that it came with.

    ``path`` is the place in the payload: ``$.lines[2].price``; ``$`` where the whole of it is meant.
    """

    def __init__(self, message: str, type: str, version: int, path: str = "$") -> None:
        super().__init__(message)
        self.type = type
        self.version = version
        self.path = path

    def located(self: E, where: str) -> E:
        """Return the same error, with where the payload stands in front of its message."""
        error = self.__class__(f"{where}: {self}", self.type, self.version, self.path)
        error.__cause__ = self.__cause__
        return error


class UnknownType(ContractError):
    """Its name is none of those that were asked for."""


class NewerVersion(ContractError):
    """It was written by newer code."""


class MissingUpcaster(ContractError):
    """It is older, and nothing brings it on from ``version``."""


class UpcastFailed(ContractError):
    """The upcaster from ``version`` raised (``__cause__``), or returned what no payload can be."""


class PayloadMismatch(ContractError):
    """It doesn't fit the type of its version."""


def titled(type: str, version: int) -> str:
    """Return how messages name it."""
    return type if version == 1 else f"{type} version {version}"


def mismatch(error: Exception, type: str, version: int, before: str = "") -> PayloadMismatch:
    """Return what a decoder's error says, with the place in a field of its own."""
    found = _AT.search(str(error))
    problem = PayloadMismatch(
        f"{titled(type, version)}: {before}{error}; repair it, or give what is written like this a version of its "
        "own and an upcaster",
        type,
        version,
        found[1] if found else "$",
    )
    problem.__cause__ = error
    return problem
