"""Whether contracts can read what older code has written: their chains, and what was exported of them before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import msgspec

from reactor.contracts.asyncapi import channels_in
from reactor.contracts.compatible import MODES, Finding, Mode, compatible, reads
from reactor.contracts.declared import Contract, contract_of
from reactor.contracts.errors import titled
from reactor.contracts.schemas import json_schema
from reactor.core import CONTRACT, ArgumentError


class Problem(msgspec.Struct, frozen=True):
    """Something that a contract can't read; ``findings`` are places in its payload, where it is about those."""

    contract: str
    what: str
    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.contract}: {self.what}", *(f"    {finding}" for finding in self.findings)])


def contracts_in(module: ModuleType) -> list[Contract[Any]]:
    """Return the contracts of the classes that a module names, itself or in a topic; older versions among them."""
    found: dict[int, Contract[Any]] = {}
    kinds = [one for one in vars(module).values() if isinstance(one, type) and CONTRACT in one.__dict__]
    for kind in [*kinds, *(kind for channel in channels_in(module) for kind in channel.types)]:
        found.setdefault(id(kind), contract_of(kind))
    return sorted(found.values(), key=lambda one: (one.name, one.version))


def current(contracts: Iterable[Contract[Any]]) -> list[Contract[Any]]:
    """Return those with the highest version of each name."""
    newest: dict[str, Contract[Any]] = {}
    for contract in contracts:
        if contract.name not in newest or contract.version > newest[contract.name].version:
            newest[contract.name] = contract
    return list(newest.values())


def check(
    contracts: Iterable[Contract[Any]], against: Mapping[str, Any] | None = None, mode: Mode = "backward"
) -> list[Problem]:
    """Return what is wrong with the current ones: steps without an upcaster, upcasters that take something else.

    ``against`` is what ``catalogue`` made of them earlier: a contract whose version is the same must be compatible
    with it, one whose version is higher needs upcasters from there.
    """
    if mode not in MODES:
        raise ArgumentError(f"check(mode={mode!r}): known modes: {', '.join(MODES)}")
    every = list(contracts)
    classes = {(contract.name, contract.version): contract.kind for contract in every}
    problems: list[Problem] = []
    known: dict[str, Contract[Any]] = {}
    for contract in current(every):
        known |= dict.fromkeys(contract.names, contract)
        problems += _chain(contract, classes)
    earlier: Mapping[str, Any] = {} if against is None else against.get("contracts", against)
    for name, entry in earlier.items():
        problems += _since(known.get(name), name, entry, mode)
    return problems


def _chain(contract: Contract[Any], classes: Mapping[tuple[str, int], type[Any]]) -> Iterable[Problem]:
    title = titled(contract.name, contract.version)
    for version in contract.missing:
        what = (
            f"nothing brings version {version} to {version + 1}; "
            f"declare @upcast({contract.kind.__name__}, from_version={version})"
        )
        old, new = classes.get((contract.name, version)), classes.get((contract.name, version + 1))
        findings: tuple[Finding, ...] = ()
        if old is not None and new is not None:
            findings = compatible(old, new).findings
            what += (
                " that mends" if findings else "; the payload fits as it is, it can return what it is given"
            )
        yield Problem(title, what, findings)
    for version, upcaster in sorted(contract.upcasters.items()):
        old = classes.get((contract.name, version))
        if old is None or upcaster.payload is None or upcaster.payload is old:
            continue
        found = reads(json_schema(old), json_schema(upcaster.payload), old.__name__, "it")
        if found:
            what = f"the upcaster from version {version} ({upcaster.place}) takes what that version isn't"
            yield Problem(title, what, tuple(found))


def _since(contract: Contract[Any] | None, name: str, entry: Any, mode: Mode) -> Iterable[Problem]:
    if not isinstance(entry, Mapping) or "schema" not in entry:
        raise ArgumentError(
            f"check(against=...): {name} has no schema; pass what export has made as json-schema"
        )
    version = int(entry.get("version", 1))
    if contract is None:
        yield Problem(
            titled(name, version),
            "is gone; what was stored can't be read: keep its class, or name it in formerly=",
        )
    elif version > contract.version:
        yield Problem(
            titled(contract.name, contract.version), f"was version {version} already; versions only count up"
        )
    elif version == contract.version:
        found = compatible(entry["schema"], json_schema(contract.kind), mode)
        if not found:
            yield Problem(
                titled(name, version),
                f"isn't {mode} compatible with what it was; give it version {version + 1} and an upcaster",
                found.findings,
            )
