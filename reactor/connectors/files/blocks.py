"""Blocks of whole lines out of a file, unzipped where it begins with the magic bytes of gzip."""

from __future__ import annotations

import codecs
import gzip
import os
import stat
import zlib
from io import BufferedIOBase, BufferedReader

from reactor.core import ArgumentError, DecodeError, FileError

SIZE = 1 << 18
"""Bytes that are read at once."""

LONGEST = 1 << 24
"""Bytes of the longest line that is held in memory."""


def text_encoding(where: str, encoding: str) -> str:
    """Return the codec's own name; ArgumentError where there is none for text."""
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, TypeError) as error:
        raise ArgumentError(
            f'{where}, encoding={encoding!r}): {error}; for example "utf-8", "cp1252"'
        ) from error


def _is_ascii_inside(encoding: str) -> bool:
    signs = "\r\n\",;|\t'0Aa"
    try:
        return signs.encode(encoding) == signs.encode()
    except UnicodeError:
        return False


class Blocks:
    """The bytes of a file, in blocks that end with a line's end. All calls come from one thread.

    Encodings in which a newline isn't the byte 10 (UTF-16) are turned into UTF-8 first; ``encoding`` is what
    the blocks are in.
    """

    def __init__(self, path: str, encoding: str) -> None:
        self.path = path
        self.name = os.path.basename(path)
        self.encoding = "utf-8" if encoding == "utf-8-sig" else encoding
        self.offset = 0
        """How many bytes of the unzipped file stand before the next block."""
        self._decoder: codecs.IncrementalDecoder | None = None
        if not _is_ascii_inside(encoding):
            self._decoder = codecs.getincrementaldecoder(encoding)()
            self._given, self.encoding = encoding, "utf-8"
        self._file: BufferedIOBase | None = None
        self._zip: BufferedReader | None = None
        self._rest = b""
        self._read = 0

    def open(self) -> None:
        """Open the file. Raises for one that isn't there, may not be read, or isn't a file."""
        try:
            mode = os.stat(self.path).st_mode
            if stat.S_ISREG(mode):
                self._file = raw = open(self.path, "rb")  # noqa: SIM115
                if raw.peek(2)[:2] == b"\x1f\x8b":
                    self._zip = raw
                    self._file = gzip.GzipFile(fileobj=raw)
        except OSError as error:
            raise FileError(f"{self.path}: can't be opened: {error.strerror or error}") from error
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
            raise FileError(f"{self.path}: is {kind}; give the path of a regular file")

    def next(self) -> bytes:
        """Return the next block; empty at the end. Only the last one may end without a line's end."""
        parts = [self._rest]
        size = len(self._rest)
        while True:
            more = self._more()
            if not more:
                self._rest = b""
                break
            cut = more.rfind(b"\n") + 1
            if cut:
                self._rest = more[cut:]
                parts.append(more[:cut])
                break
            parts.append(more)
            size += len(more)
            if size > LONGEST:
                raise FileError(
                    f"{self.path}: a line from byte {self.offset} on is longer than {LONGEST >> 20} MiB; "
                    "is this a file of text?"
                )
        block = b"".join(parts)
        if not self.offset and self.encoding == "utf-8" and block.startswith(codecs.BOM_UTF8):
            block = block[3:]
            self.offset = 3
        return block

    def _more(self) -> bytes:
        assert self._file is not None
        while True:
            try:
                more = self._file.read1(SIZE)
            except (OSError, EOFError, zlib.error) as error:
                raise FileError(
                    f"{self.path}: can't be read after byte {self._read}"
                    f"{' (unzipped)' if self._zip else ''}: {error}; is the file complete?"
                ) from error
            self._read += len(more)
            if self._decoder is None:
                return more
            try:
                text = self._decoder.decode(more, not more)
            except UnicodeError as error:
                at = self._read - len(more) + getattr(error, "start", 0)
                raise DecodeError(
                    f"{self.path}: not {self._given} near byte {at}: "
                    f"{getattr(error, 'reason', error)}; pass the encoding= that it was written in"
                ) from error
            if text or not more:
                return text.encode("utf-8", "surrogatepass")

    def close(self) -> None:
        for file in (self._file, self._zip):
            if file is not None:
                file.close()
        self._file = self._zip = None


def wrong_encoding(path: str, line: int, offset: int, error: UnicodeDecodeError) -> DecodeError:
    """Return the error for bytes that are not text in the encoding; ``offset`` is where the line begins."""
    byte = error.object[error.start]
    if line == 1 and error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        fix = 'the file begins as UTF-16 does: pass encoding="utf-16"'
    elif error.encoding.startswith("utf"):
        fix = 'pass the encoding= that it was written in (from Windows, often "cp1252")'
    else:
        fix = "pass the encoding= that it was written in"
    return DecodeError(
        f"{path}, line {line}: byte {offset + error.start} (0x{byte:02x}) isn't {error.encoding}; {fix}"
    )
