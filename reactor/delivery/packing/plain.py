"""What writing and reading have to know alike of the values of the standard library."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import timedelta, timezone
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from struct import Struct
from typing import Any
from zoneinfo import ZoneInfo

from reactor.delivery.packing.codes import Refused, shortened

MOMENT = Struct(">HBBBBBIB")  # year, month, day, hour, minute, second, microsecond, fold
TIME_OF_DAY = Struct(">BBBIB")
TWO_FLOATS = Struct(">dd")
FACTORIES: Mapping[str, type] = {kind.__name__: kind for kind in (list, dict, set, int, float, str)}
PATHS: Mapping[str, type] = {
    kind.__name__: kind for kind in (PosixPath, PurePosixPath, WindowsPath, PureWindowsPath)
}


def checked(data: bytes) -> bytes:
    """Return the bytes with a checksum in front: for those that foreign code will read."""
    return zlib.crc32(data).to_bytes(4, "big") + data


def unchecked(data: bytes) -> bytes:
    """Return what ``checked`` was given; raise ValueError where it isn't what was written."""
    if len(data) < 4 or zlib.crc32(data[4:]).to_bytes(4, "big") != data[:4]:
        raise ValueError("the checksum differs")
    return data[4:]


def zone_parts(zone: Any) -> Any:
    """Return a time zone as its name, its offset in microseconds, or both."""
    if type(zone) is ZoneInfo and getattr(zone, "key", None) is not None:  # None: of a file without a name
        return zone.key
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        microseconds = offset // timedelta(microseconds=1)
        # A name of its own isn't told from the one that the offset gives it by default, by any other way.
        return (
            microseconds if zone == timezone(offset) and _plain(zone) else [microseconds, zone.tzname(None)]
        )
    raise Refused(
        f"has the time zone {shortened(zone)}, of which only this process knows",
        'use datetime.UTC, a fixed offset, or ZoneInfo("Europe/Berlin")',
    )


def _plain(zone: timezone) -> bool:
    return len(zone.__getinitargs__()) == 1  # type: ignore[attr-defined]
