"""A file as a sink: a line of JSON for each event."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from typing import TypeVar

import msgspec

from reactor.connectors.encoding import encoded
from reactor.connectors.loops import OwnThread
from reactor.core import ArgumentError, FileError, Sink

T_contra = TypeVar("T_contra", contravariant=True)

_JSON = msgspec.json.Encoder()


class LinesSink(Sink[T_contra]):
    """Appends whole lines: a write that fails leaves none of its lines behind.

    ``write`` returns once the operating system has them, ``flush`` once they are on the disk.
    """

    def __init__(self, path: str) -> None:
        self.name = os.path.basename(path)
        self._path = path
        self._file: FileIO | None = None
        self._thread: OwnThread | None = None

    async def open(self) -> None:
        """Open the file, making it where there is none; a last line that a crash tore is ended."""
        self._thread = OwnThread(f"reactor file {self.name}")
        await self._thread.ask(self._open).wait()

    async def write(self, events: Sequence[T_contra]) -> None:
        """Append the events; Refused with those that JSON can't say, FileError if the disk is full."""
        # Encoded here, not on the thread: the caller may change its objects after this call.
        lines = encoded(events, self._lines)
        await self._running.ask(lambda: self._append(lines)).wait()

    async def flush(self) -> None:
        await self._running.ask(self._sync).wait()

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.end(self._close)

    def _lines(self, events: Sequence[T_contra]) -> bytes:
        try:
            return _JSON.encode_lines(events)
        except (TypeError, ValueError, RecursionError) as error:
            raise ArgumentError(f"{self._path}: an event isn't JSON: {error}") from error

    @property
    def _running(self) -> OwnThread:
        if self._thread is None:
            raise RuntimeError(f"{self.name}: used before open() or after close()")
        return self._thread

    # On the thread:

    def _open(self) -> None:
        try:
            self._file = file = open(self._path, "a+b", buffering=0)  # noqa: SIM115
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    self._append(b"\n")
        except OSError as error:
            raise FileError(f"{self._path}: can't be opened: {error.strerror or error}") from error

    def _append(self, lines: bytes) -> None:
        file = self._file
        assert file is not None
        begin = file.seek(0, os.SEEK_END)
        left = memoryview(lines)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            with suppress(OSError):
                file.truncate(begin)
            raise FileError(f"{self._path}: can't be written: {error.strerror or error}") from error

    def _sync(self) -> None:
        assert self._file is not None
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise FileError(f"{self._path}: can't be written: {error.strerror or error}") from error

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
