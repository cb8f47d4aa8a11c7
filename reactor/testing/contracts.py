"""A test of an application's contracts: what is stored can be read."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from reactor.contracts import Contract, Mode, check, contract_of, contracts_in
from reactor.core import ArgumentError


def check_contracts(
    contracts: ModuleType | list[type[Any]],
    against: Mapping[str, Any] | str | PathLike[str] | None = None,
    mode: Mode = "backward",
) -> None:
    """Fail with all problems where contracts of a module (or of classes) can't read what older code has written.

    ``against`` is what ``python -m reactor contracts export MODULE --format json-schema`` has printed for the code
    that runs now: the file, or what is in it. Raises AssertionError.
    """
    found: list[Contract[Any]]
    if isinstance(contracts, ModuleType):
        found = contracts_in(contracts)
    else:
        found = [contract_of(kind) for kind in contracts]
    if not found:
        raise ArgumentError(f"check_contracts({contracts!r}): it has no contracts")
    if isinstance(against, str | PathLike):
        against = msgspec.json.decode(Path(against).read_bytes(), type=dict[str, Any])
    problems = check(found, against, mode)
    assert not problems, "\n".join(["contracts:", *map(str, problems)])
