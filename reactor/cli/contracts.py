"""``python -m reactor contracts``: check what code can still read, export what it writes."""

from __future__ import annotations

import importlib
import os
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args

import msgspec
import typer

from reactor.cli.ends import FAILED, WRONG, fail, out, tell
from reactor.contracts import (
    Contract,
    Mode,
    as_json,
    asyncapi,
    avro_schema,
    catalogue,
    channels_in,
    check,
    contracts_in,
    current,
    protobuf_schema,
)
from reactor.core import ArgumentError

app = typer.Typer(
    help="Look after the contracts of events. MODULE is what `import` takes, such as shop.events: its classes "
    "with @event are meant, and those of its topics.",
    no_args_is_help=True,
)


class Format(Enum):
    """What a contract can be exported as."""

    JSON_SCHEMA = "json-schema"
    AVRO = "avro"
    PROTOBUF = "protobuf"
    ASYNCAPI = "asyncapi"


Module = Annotated[str, typer.Argument(metavar="MODULE", help="The module that names the events.")]


def _mode(text: str) -> Mode:
    known: tuple[Mode, ...] = get_args(Mode)
    for mode in known:
        if mode == text:
            return mode
    raise typer.BadParameter(f"{text}: the modes are {', '.join(known)}")


@app.command("check")
def check_(
    module: Module,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="What `export --format json-schema` printed earlier."),
    ] = None,
    mode: Annotated[
        Any,
        typer.Option(
            "--mode",
            parser=_mode,
            metavar="MODE",
            help="backward (the default), forward, full, and -transitive.",
        ),
    ] = "backward",
) -> None:
    """Check that each older version has its upcaster, and that what was exported earlier is compatible."""
    contracts = contracts_in(_module(module))
    if not contracts:
        fail(WRONG, f"{module} names no class with @event")
    earlier: Any = None
    if against is not None:
        try:
            earlier = msgspec.json.decode(against.read_bytes(), type=dict[str, Any])
        except OSError as error:
            fail(WRONG, f"--against: {against}: {error.strerror}")
        except msgspec.MsgspecError as error:
            fail(WRONG, f"--against: {against}: isn't what export has made: {error}")
    try:
        problems = check(contracts, earlier, mode)
    except ArgumentError as error:
        fail(WRONG, str(error))
    for problem in problems:
        out.print(str(problem), highlight=False, markup=False, soft_wrap=True)
    number = len(current(contracts))
    if problems:
        tell(f"{number} contract{'s'[: number != 1]}, {len(problems)} problem{'s'[: len(problems) != 1]}")
        raise typer.Exit(FAILED)
    out.print(f"{number} contract{'s'[: number != 1]}: all that is stored can be read", highlight=False)


@app.command()
def export(
    module: Module,
    format: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.JSON_SCHEMA,
    title: Annotated[
        str | None, typer.Option("--title", help="The application's name (asyncapi); default: MODULE.")
    ] = None,
    package: Annotated[
        str | None, typer.Option("--package", help="The package (protobuf); default: MODULE.")
    ] = None,
) -> None:
    """Print the newest version of each contract, for others and for a later check."""
    found = _module(module)
    contracts = current(contracts_in(found))
    if not contracts:
        fail(WRONG, f"{module} names no class with @event")
    try:
        text = _exported(found, contracts, format, title or module, package or module)
    except ArgumentError as error:
        fail(WRONG, str(error))
    sys.stdout.write(text)


def _exported(
    module: ModuleType, contracts: list[Contract[Any]], format: Format, title: str, package: str
) -> str:
    kinds = [contract.kind for contract in contracts]
    match format:
        case Format.JSON_SCHEMA:
            return as_json(catalogue(contracts))
        case Format.AVRO:
            return as_json([avro_schema(kind) for kind in kinds])
        case Format.PROTOBUF:
            return protobuf_schema(*kinds, package=package)
        case Format.ASYNCAPI:
            return as_json(asyncapi(title, channels_in(module), contracts=contracts))


def _module(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            fail(WRONG, f"there is no module {name}; write what `import` takes, such as shop.events")
        fail(FAILED, f"{name} can't be imported: {error}")
    except Exception as error:
        fail(FAILED, f"{name} can't be imported: {type(error).__name__}: {error}")
