"""Payloads to events: read directly where the version is the current one, else brought on by upcasters."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from reactor.contracts.declared import Contract, contract_of, convert, newer, newest, plain_of
from reactor.contracts.errors import ContractError, UnknownType, mismatch, titled
from reactor.core import ArgumentError

T = TypeVar("T")

VERSION = "reactor-version"
"""The header of a record whose contract has another version than 1."""

Decoder = Callable[[Any], Any]


class Decoders:
    """What decodes payloads of some types, by what their records say: the version's text, then the name.

    ``direct(kind)`` makes what reads the current version; ``plain`` reads an older one as plain values, or
    ``older(kind, version)`` makes what reads that.
    """

    def __init__(
        self,
        kinds: Iterable[Any],
        direct: Callable[[Any], Decoder],
        plain: Decoder,
        older: Callable[[Any, int], Decoder] | None = None,
    ) -> None:
        self.contracts: dict[str, Contract[Any]] = {}
        self.tables: dict[str | None, dict[str, Decoder]] = {None: {}}
        """By the header's text, None where there is none, and then by the name."""
        self._plain = plain
        for kind in kinds:
            contract = contract_of(kind)
            current = direct(kind)
            for name in contract.names:
                self.contracts[name] = contract
                for version in range(1, contract.version + 1):
                    decoder = current
                    if version < contract.version:
                        decoder = self._older(contract, version) if older is None else older(kind, version)
                    self.tables.setdefault(str(version), {})[name] = decoder
                    if version == 1:
                        self.tables[None][name] = decoder

    def _older(self, contract: Contract[Any], version: int) -> Decoder:
        plain = self._plain

        def decode(data: Any) -> Any:
            return contract.load(plain(data), version)

        return decode

    def refuse(self, name: str, version: str | None) -> ContractError:
        """Return why there is no decoder for this name and version."""
        number = int(version) if version is not None and version.isdecimal() and version.isascii() else 1
        contract = self.contracts.get(name)
        if contract is None:
            names = ", ".join(self.contracts)
            return UnknownType(
                f"{titled(name, number)} is none of {names}; name its class where the payload is read, "
                "or publish it elsewhere",
                name,
                number,
            )
        if number > contract.version:
            return newer(name, number, contract.version)
        return UnknownType(
            f"{name}: {version!r} is no version; the header {VERSION} is a number from 1 on", name, number
        )


def version_in(headers: Mapping[str, str]) -> int:
    """Return the version that the headers tell; 1 where they tell none."""
    text = headers.get(VERSION, "1")
    return int(text) if text.isascii() and text.isdecimal() else 1


def decode(payload: Any, type: str, version: int, wanted: type[T] | Iterable[Any]) -> T:
    """Return the event that a payload is: JSON as bytes, or plain values, of a contract's name and version.

    ``wanted`` are the classes among which the name is looked up. Raises a ContractError.
    """
    kinds = (wanted,) if isinstance(wanted, builtins.type) else tuple(wanted)
    if not kinds:
        raise ArgumentError("decode(wanted=()): name the classes that it may be")
    if isinstance(payload, bytes | bytearray | memoryview):
        decoders = Decoders(kinds, _json, msgspec.json.decode)
    else:
        decoders = Decoders(kinds, _plain, plain_of)
    decoder = decoders.tables.get(str(version), {}).get(type)
    if decoder is None:
        raise decoders.refuse(type, str(version))
    try:
        return cast("T", decoder(payload))
    except ContractError:
        raise
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise mismatch(error, type, version) from error


def _json(kind: Any) -> Decoder:
    return msgspec.json.Decoder(kind).decode


def _plain(kind: Any) -> Decoder:
    return lambda value: convert(value, kind)


# State --------------------------------------------------------------------------------------------------------


def tag(kind: type[Any]) -> tuple[str, int]:
    """Return the name and version under which objects of the class are stored."""
    contract = contract_of(kind)
    return contract.name, contract.version


def dump(value: object) -> tuple[str, int, Any]:
    """Return name, version and plain values of an object, as ``load`` takes them."""
    return *tag(type(value)), plain_of(value)


def loader(name: str, version: int, kind: type[T] | None = None) -> Callable[[Any], T]:
    """Return what makes objects of plain values that were stored under this name and version.

    ``kind`` is their class now; without it, the class of that name with the highest version is looked up among
    all that are declared. Raises UnknownType, NewerVersion.
    """
    contract: Contract[Any] | None = newest(name) if kind is None else contract_of(kind)
    if contract is None:
        raise UnknownType(
            f"{titled(name, version)}: no class is declared with this name; import the module that has it, "
            "or keep the old name by formerly=",
            name,
            version,
        )
    if version > contract.version:
        raise newer(name, version, contract.version)
    if version == contract.version:
        return lambda plain: contract.load(plain, version)
    # Upcasters may change what they are given, and the caller has it still.
    return lambda plain: contract.load(plain_of(plain), version)


def load(name: str, version: int, plain: Any, kind: type[T] | None = None) -> T:
    """Return the object that was stored so; see ``loader``, which is faster for many. Raises a ContractError."""
    return loader(name, version, kind)(plain)
