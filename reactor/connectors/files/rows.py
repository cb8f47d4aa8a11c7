"""Records of a CSV file: a dict of each row, or what a type makes of it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import chain, islice
from typing import Any

import msgspec

from reactor.connectors.files.batches import BYTES, Fault, assemble
from reactor.connectors.files.blocks import Blocks, wrong_encoding
from reactor.connectors.log import Batch
from reactor.core import ArgumentError, DecodeError, FileError


class Rows:
    """Reads rows, whose first is the header; a record's line is where its row begins."""

    def __init__(self, path: str, kind: Any, columns: Sequence[str], encoding: str, delimiter: str) -> None:
        self._blocks = Blocks(path, encoding)
        self.name = self._blocks.name
        self._path = path
        self._kind = kind
        self._kinds: Any = list[kind]
        try:
            self._known = () if kind is None else tuple(_fields_of(kind))
            msgspec.convert([], self._kinds)
        except TypeError as error:
            raise ArgumentError(f"files.csv({path!r}, {kind!r}): can't be decoded: {error}") from error
        self._columns = columns
        self._delimiter = delimiter
        self._fields: list[str] = []
        self._nullable: list[str] = []
        self._rows: Any = None
        # The lines that aren't read to their end yet: the first one's number is _first.
        self._lines: list[bytes] = []
        self._first = 1
        self._begin = 0
        self._wrong: dict[int, DecodeError] = {}
        self._failure: Exception | None = None

    def open(self) -> None:
        self._blocks.open()
        texts = chain.from_iterable(self._texts())
        self._rows = csv.reader(texts, delimiter=self._delimiter, strict=True)
        try:
            header = next(self._rows, None)
            while header == []:
                header = next(self._rows, None)
        except csv.Error as error:
            raise DecodeError(f"{self._path}, line 1: the header isn't CSV: {error}") from error
        if wrong := self._wrong_in(0, self._rows.line_num):
            raise wrong
        self._fields = self._header(header)
        self._begin = self._rows.line_num

    def _header(self, header: list[str] | None) -> list[str]:
        if header is None:
            raise DecodeError(f"{self._path}: is empty; its first line has to name the columns")
        where = f"{self._path}, line {self._rows.line_num}"
        twice = [name for at, name in enumerate(header) if name in header[:at]]
        if twice:
            raise DecodeError(f"{where}: column {twice[0]!r} stands twice in the header; rename one")
        required = list(self._columns)
        for field in self._known:
            if field.required and field.encode_name not in required:
                required.append(field.encode_name)
            if field.encode_name in header and _takes_none(field.type):
                self._nullable.append(field.encode_name)
        missing = [name for name in required if name not in header]
        if missing:
            names = ", ".join(map(repr, missing))
            what = f"columns {names} are" if len(missing) > 1 else f"column {names} is"
            raise DecodeError(
                f"{where}: {what} missing; "
                f"the header has {', '.join(map(repr, header))}; {self._remedy(header)}"
            )
        return header

    def _remedy(self, header: list[str]) -> str:
        for sign in ",;\t|":
            if len(header) == 1 and sign in header[0]:
                return f"pass delimiter={sign!r}"
        return "name the columns in the first line as the reader wants them"

    def _texts(self) -> Iterator[Iterable[str]]:
        blocks = self._blocks
        end = 1
        while block := blocks.next():
            lines = block.splitlines(True)
            # A row that began in an earlier block keeps its lines.
            self._lines = self._lines[self._begin + 1 - self._first :] + lines
            self._first = self._begin + 1
            begin, end = end, end + len(lines)
            try:
                text = block.decode(blocks.encoding)
            except UnicodeDecodeError:
                yield self._mended(lines, begin)
            else:
                yield StringIO(text, newline="")
            blocks.offset += len(block)

    def _mended(self, lines: list[bytes], number: int) -> list[str]:
        """Decode line by line, and remember those that aren't text."""
        texts: list[str] = []
        offset = self._blocks.offset
        encoding = self._blocks.encoding
        for line in lines:
            try:
                texts.append(line.decode(encoding))
            except UnicodeDecodeError as error:
                self._wrong[number] = wrong_encoding(self._path, number, offset, error)
                texts.append(line.decode(encoding, "replace"))
            number += 1
            offset += len(line)
        return texts

    def batch(self, limit: int) -> Batch | None:
        rows, fields, width, wrong = self._rows, self._fields, len(self._fields), self._wrong
        values: list[Any] = []
        lines: list[int] = []
        raws: list[bytes] = []
        faults: list[Fault] = []
        begin = start = self._begin
        size = 0
        while self._failure is None:
            try:
                for row in islice(rows, limit):
                    end: int = rows.line_num
                    at = begin - self._first + 1
                    raw = (
                        self._lines[at] if end - begin == 1 else b"".join(self._lines[at : at + end - begin])
                    )
                    raw = raw.rstrip(b"\r\n")
                    if len(row) == width and not wrong:
                        values.append(dict(zip(fields, row)))  # noqa: B905
                        lines.append(begin + 1)
                        raws.append(raw)
                    elif row:
                        if error := self._wrong_in(begin, end) or self._wrong_width(begin + 1, row):
                            faults.append(Fault(begin + 1, raw, error))
                        else:
                            values.append(dict(zip(fields, row, strict=True)))
                            lines.append(begin + 1)
                            raws.append(raw)
                    begin = self._begin = end
                    size += len(raw)
                    if size > BYTES:
                        break
            except csv.Error as error:
                end = rows.line_num
                at = begin - self._first + 1
                raw = b"".join(self._lines[at : at + end - begin]).rstrip(b"\r\n")
                faults.append(Fault(begin + 1, raw, self._not_csv(begin + 1, end, error)))
                begin = self._begin = end
                if len(faults) < limit and (size := size + len(raw)) <= BYTES:
                    continue
            except (DecodeError, FileError) as error:
                self._failure = error
            if values or faults:
                break
            if self._failure is None and begin == start:
                return None
            start = begin
        if self._failure is not None and not values and not faults:
            raise self._failure
        if self._kind is not None:
            values, lines, raws = self._converted(values, lines, raws, faults)
        return assemble(self._path, values, lines, raws, faults, begin + 1)

    def _converted(
        self, rows: list[Any], lines: list[int], raws: list[bytes], faults: list[Fault]
    ) -> tuple[list[Any], list[int], list[bytes]]:
        for name in self._nullable:
            for row in rows:
                if not row[name]:
                    row[name] = None
        try:
            return msgspec.convert(rows, self._kinds, strict=False), lines, raws
        except (msgspec.ValidationError, ValueError):
            pass
        values: list[Any] = []
        good: list[int] = []
        texts: list[bytes] = []
        for row, line, raw in zip(rows, lines, raws, strict=True):
            try:
                values.append(msgspec.convert(row, self._kind, strict=False))
            except (msgspec.ValidationError, ValueError) as error:
                faults.append(Fault(line, raw, self._no_fit(line, row, error)))
            else:
                good.append(line)
                texts.append(raw)
        return values, good, texts

    # What is wrong:

    def _wrong_in(self, begin: int, end: int) -> DecodeError | None:
        found = [self._wrong.pop(line) for line in range(begin + 1, end + 1) if line in self._wrong]
        return found[0] if found else None

    def _wrong_width(self, line: int, row: list[str]) -> DecodeError | None:
        fields = self._fields
        if len(row) == len(fields):
            return None
        if len(row) < len(fields):
            what = f"the first that is missing is {fields[len(row)]!r}"
        else:
            what = f"the first that is too many is {row[len(fields)]!r}; quote a field that has a delimiter"
        s = "s" if len(row) > 1 else ""
        return DecodeError(
            f"{self._path}, line {line}: {len(row)} field{s}, the header has {len(fields)}: {what}"
        )

    def _not_csv(self, line: int, end: int, error: csv.Error) -> DecodeError:
        lines = "" if end == line else f" to {end}"
        return DecodeError(f"{self._path}, line {line}{lines}: {error}; is a quote missing?")

    def _no_fit(self, line: int, row: dict[str, str], error: Exception) -> DecodeError:
        where = f"{self._path}, line {line}"
        for name, text in row.items():
            if f"`$.{name}`" in str(error):
                where = f"{where}, column {name} ({text!r})"
        problem = DecodeError(f"{where}: {error}")
        problem.__cause__ = error
        return problem

    def close(self) -> None:
        self._blocks.close()


def _fields_of(kind: Any) -> Iterable[msgspec.inspect.Field]:
    match msgspec.inspect.type_info(kind):
        case (
            msgspec.inspect.StructType()
            | msgspec.inspect.DataclassType()
            | msgspec.inspect.TypedDictType() as info
        ):
            return info.fields
        case _:
            return ()


def _takes_none(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.UnionType):
        return kind.includes_none
    return isinstance(kind, msgspec.inspect.NoneType)
