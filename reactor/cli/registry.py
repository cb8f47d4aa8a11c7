"""``python -m reactor registry``: a schema registry to develop with."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reactor.cli.ends import FAILED, WRONG, fail
from reactor.core import ArgumentError, MissingExtra
from reactor.registry import RegistryError, serve_until_stopped

app = typer.Typer(
    help="A schema registry to develop with; it speaks Confluent's protocol.", no_args_is_help=True
)


@app.callback()
def _only_groups() -> None:  # pyright: ignore[reportUnusedFunction]
    """A schema registry to develop with; it speaks Confluent's protocol."""


@app.command()
def serve(
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", help="Where the schemas are kept, such as sqlite:shop.db."),
    ],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8081,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
) -> None:
    """Serve the schemas of a SQLite file, which may have topics and checkpoints in it too, until Ctrl-C."""

    def ready(url: str) -> None:
        sys.stdout.write(f"schema registry: {url} ({store})\n")
        sys.stdout.flush()

    try:
        serve_until_stopped(store, host=host, port=port, ready=ready)
    except (ArgumentError, MissingExtra) as error:
        fail(WRONG, str(error))
    except RegistryError as error:
        fail(FAILED, str(error))
