"""The command line: ``python -m reactor``."""

import typer

from reactor.cli import checkpoints, contracts, letters, registry

__all__ = ["app"]

app = typer.Typer(
    help="Tools for pipelines of reactor.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(letters.app, name="dead-letters")
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(contracts.app, name="contracts")
app.add_typer(registry.app, name="registry")


@app.callback()
def _only_groups() -> None:  # pyright: ignore[reportUnusedFunction]
    """Tools for pipelines of reactor."""
