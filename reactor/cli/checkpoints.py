"""``python -m reactor checkpoints``: list, show, keep, restore, delete, reset."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from reactor.checkpoints import checkpoints
from reactor.cli.ends import FAILED, WRONG, err, fail, guarded, out, tell
from reactor.cli.shown import when
from reactor.connectors.states.holders import shown
from reactor.core import StateCorrupt
from reactor.delivery import Owner, Savepoint

app = typer.Typer(
    help="Look at the checkpoints of pipelines, keep them under a name, go back to one. URL is that of their "
    "store, such as sqlite:state.db.",
    no_args_is_help=True,
)

Url = Annotated[str, typer.Argument(metavar="URL", help="The store of the checkpoints.")]
Pipeline = Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline's name.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The savepoint's name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

Found = list[tuple[Savepoint, Owner | None]]


@app.command("list")
def list_(
    url: Url,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Only those of this pipeline.")] = None,
    json: Json = False,
) -> None:
    """List the last checkpoint of each pipeline, and its savepoints."""

    async def main() -> tuple[Found, int]:
        kept = checkpoints(url)
        found: Found = []
        damaged = 0
        for name in [pipeline] if pipeline is not None else await kept.pipelines():
            owner = None
            try:
                owner = await kept.owner(name)
                outlines = await kept.outlines(name)
            except StateCorrupt as error:
                tell(f"error: {error}")
                damaged += 1
                outlines = await kept.savepoints(name)  # of these, one may be restored
            found += [(outline, owner) for outline in outlines]
        return found, damaged

    found, damaged = guarded(main)
    if json:
        for savepoint, owner in found:
            print(_as_json(savepoint, owner))
    else:
        if found:
            out.print(_table(found))
        err.print(f"{len(found)} checkpoint{'s'[: len(found) != 1]}", highlight=False)
    if damaged:
        raise typer.Exit(FAILED)


@app.command()
def show(
    url: Url,
    pipeline: Pipeline,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A savepoint; default: the last checkpoint.")
    ] = None,
    json: Json = False,
) -> None:
    """Show one: where its sources stood, what its operators remembered. The last one is checked for damage."""

    async def main() -> tuple[Savepoint, Owner | None]:
        kept = checkpoints(url)
        return await kept.inspect(pipeline, name), await kept.owner(pipeline)

    savepoint, owner = guarded(main)
    if json:
        print(_as_json(savepoint, owner))
    else:
        _show(savepoint, owner)


@app.command()
def keep(url: Url, pipeline: Pipeline, name: Name) -> None:
    """Keep the last checkpoint under a name. The pipeline may run."""
    kept = guarded(lambda: checkpoints(url).keep(pipeline, name))
    _say(
        f"{pipeline}: checkpoint {kept.checkpoint.number} is kept as {name}: {_rows(kept)}, {_bytes(kept.size)}"
    )


@app.command()
def restore(url: Url, pipeline: Pipeline, name: Name) -> None:
    """Let the pipeline go on from a savepoint when it is started the next time. It must not run now."""
    done = guarded(lambda: checkpoints(url).restore(pipeline, name))
    _say(f"{pipeline}: goes on from {name}, taken at {when(done.time)}, as checkpoint {done.number}")


@app.command()
def delete(url: Url, pipeline: Pipeline, name: Name) -> None:
    """Delete a savepoint."""
    guarded(lambda: checkpoints(url).delete(pipeline, name))
    _say(f"{pipeline}: the savepoint {name} is deleted")


@app.command()
def reset(
    url: Url,
    pipeline: Pipeline,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete the last checkpoint, so that the pipeline begins anew. It must not run. Its savepoints stay."""
    if not yes:
        if not sys.stdin.isatty():
            fail(WRONG, "what the pipeline remembers would be lost; say --yes")
        typer.confirm(f"{pipeline}: delete what it remembers, and where its sources stand?", abort=True)
    guarded(lambda: checkpoints(url).reset(pipeline))
    _say(f"{pipeline}: begins anew when it is started the next time")


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(found: Sequence[tuple[Savepoint, Owner | None]]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("pipeline", "savepoint", "taken at"):
        made.add_column(head, no_wrap=True)
    for head in ("operators", "rows", "size"):
        made.add_column(head, justify="right", no_wrap=True)
    made.add_column("state", no_wrap=True)
    for savepoint, owner in found:
        cut = savepoint.checkpoint
        last = not savepoint.name
        made.add_row(
            Text(savepoint.pipeline),
            Text(savepoint.name) if not last else Text("(last)", style="dim"),
            Text(when(cut.time)),
            Text(str(len(cut.operators))),
            Text(f"{sum(savepoint.rows.values()):,}"),
            Text(_bytes(savepoint.size)),
            _state(savepoint, owner) if last else Text(""),
        )
    return made


def _state(savepoint: Savepoint, owner: Owner | None) -> Text:
    if owner is not None:
        return Text("running", style="green")
    return Text("complete" if savepoint.checkpoint.complete else "stopped", style="dim")


def _show(savepoint: Savepoint, owner: Owner | None) -> None:
    cut = savepoint.checkpoint
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    made.add_row("pipeline", Text(savepoint.pipeline, style="bold"))
    made.add_row("checkpoint", Text(f"{savepoint.name or 'the last one'}, number {cut.number}"))
    made.add_row("taken at", Text(when(cut.time)))
    if owner is not None:
        made.add_row("run by", Text(f"{_who(owner)}, fencing number {owner.fence}"))
    if cut.complete:
        made.add_row("complete", Text("it had come to its end"))
    made.add_row("size", Text(f"{_rows(savepoint)}, {_bytes(savepoint.size)}"))
    for label, position in cut.positions.items():
        made.add_row("position", Text(f"{label}: {position}"))
    for operator, verb in cut.operators.items():
        rows = savepoint.rows.get(operator, 0)
        made.add_row("operator", Text(f"{operator} ({verb}): {rows:,} row{'s'[: rows != 1]}"))
    out.print(made, highlight=False)


def _who(owner: Owner) -> str:
    return shown(owner.holder)


def _rows(savepoint: Savepoint) -> str:
    rows = sum(savepoint.rows.values())
    return f"{rows:,} row{'s'[: rows != 1]}"


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _as_json(savepoint: Savepoint, owner: Owner | None) -> str:
    built: dict[str, Any] = {
        "pipeline": savepoint.pipeline,
        "name": savepoint.name or None,
        **msgspec.to_builtins(savepoint.checkpoint),
        "rows": savepoint.rows,
        "size": savepoint.size,
        "owner": owner,
    }
    return msgspec.json.encode(built).decode()
