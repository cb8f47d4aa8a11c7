"""Files as sources: ``Stream(files.csv("orders.csv.gz"))``, ``Stream(files.jsonl("orders.jsonl", Order))``"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from reactor.connectors.files import FileSource, Lines, LinesSink, Rows, text_encoding
from reactor.core import ArgumentError, Sink, Source

__all__ = ["csv", "jsonl", "jsonl_sink"]

T = TypeVar("T")

Path = str | os.PathLike[str]


@overload
def csv(
    path: Path,
    type: None = None,
    *,
    columns: Iterable[str] | None = None,
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Source[dict[str, str]]: ...
@overload
def csv(
    path: Path,
    type: type[T],
    *,
    columns: Iterable[str] | None = None,
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Source[T]: ...


def csv(
    path: Path,
    type: Any = None,
    *,
    columns: Iterable[str] | None = None,
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Source[Any]:
    """Return the rows of a CSV file as dicts by the names in its header, or as objects of ``type``.

    ``columns`` must be in the header; so must the required fields of a type. Fields become what the type
    says (int, Decimal, datetime, ...), an empty one None where the type allows None. Empty lines are passed
    over. A file that begins like gzip is unzipped, a UTF-8 byte order mark is no part of the text.

    Records have the path as topic, the line where they begin as position, and its bytes as ``raw``. A row
    that doesn't fit goes to the pipeline's dead letters if it has any; else it raises DecodeError, which names
    file, line and column. Raises ArgumentError here; when a run opens it, FileError for a file that isn't
    there and DecodeError for a column that isn't.
    """
    name = _path("csv", path)
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':
        raise ArgumentError(f'files.csv({name!r}, delimiter={delimiter!r}): must be one character, as ","')
    if isinstance(columns, str):
        raise ArgumentError(f"files.csv({name!r}, columns={columns!r}): must be several names: [{columns!r}]")
    required = tuple(columns or ())
    text = text_encoding(f"files.csv({name!r}", encoding)
    return FileSource(lambda: Rows(name, type, required, text, delimiter))


@overload
def jsonl(path: Path, type: None = None) -> Source[object]: ...
@overload
def jsonl(path: Path, type: type[T]) -> Source[T]: ...


def jsonl(path: Path, type: Any = None) -> Source[Any]:
    """Return the values of a file with one JSON value a line, plain ones or as objects of ``type``.

    Empty lines are passed over; gzip, ``position``, ``raw`` and errors are as ``csv`` has them. The text
    is UTF-8, as JSON demands.
    """
    name = _path("jsonl", path)
    return FileSource(lambda: Lines(name, Any if type is None else type))


def jsonl_sink(path: Path) -> Sink[object]:
    """Return a sink that appends a line of JSON for each event to a file.

    A write puts all of its lines there or none; they are on the disk (fsync) once the run's next barrier has
    passed. A run that is repeated after a crash may write lines again.
    """
    return LinesSink(_path("jsonl_sink", path))


def _path(call: str, path: Path) -> str:
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"files.{call}({path!r}): the first argument is a path")
    return os.fspath(path)
