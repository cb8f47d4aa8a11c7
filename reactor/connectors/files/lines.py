"""Records of a file in which each line is a JSON value of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from reactor.connectors.files.batches import BYTES, Fault, assemble
from reactor.connectors.files.blocks import Blocks
from reactor.connectors.log import Batch
from reactor.core import ArgumentError, DecodeError, FileError


class Lines:
    """Reads lines of JSON; empty ones are passed over."""

    def __init__(self, path: str, kind: Any) -> None:
        self._blocks = Blocks(path, "utf-8")
        self.name = self._blocks.name
        self._path = path
        try:
            self._decode = msgspec.json.Decoder(kind).decode
        except TypeError as error:
            raise ArgumentError(f"files.jsonl({path!r}, {kind!r}): can't be decoded: {error}") from error
        self._lines: Iterator[bytes] = iter(())
        self._line = 0
        self._failure: Exception | None = None

    def open(self) -> None:
        self._blocks.open()
        self._lines = chain.from_iterable(self._texts())

    def _texts(self) -> Iterator[list[bytes]]:
        while block := self._blocks.next():
            lines = block.replace(b"\r\n", b"\n").split(b"\n")
            if not lines[-1]:
                del lines[-1]
            yield lines
            self._blocks.offset += len(block)

    def batch(self, limit: int) -> Batch | None:
        decode = self._decode
        values: list[Any] = []
        lines: list[int] = []
        raws: list[bytes] = []
        faults: list[Fault] = []
        size = 0
        while self._failure is None:
            number = start = self._line
            try:
                for line in islice(self._lines, limit):
                    number += 1
                    try:
                        value = decode(line)
                    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                        if line and not line.isspace():
                            faults.append(Fault(number, line, self._no_fit(number, error)))
                    else:
                        values.append(value)
                        lines.append(number)
                        raws.append(line)
                    size += len(line)
                    if size > BYTES:
                        break
            except (DecodeError, FileError) as error:
                self._failure = error
            self._line = number
            if values or faults:
                return assemble(self._path, values, lines, raws, faults, number + 1)
            if self._failure is None and number == start:
                return None
        raise self._failure

    def _no_fit(self, line: int, error: Exception) -> DecodeError:
        problem = DecodeError(f"{self._path}, line {line}: {error}")
        problem.__cause__ = error
        return problem

    def close(self) -> None:
        self._blocks.close()
