"""``python -m reactor dead-letters``: list, show, edit, replay, retry, discard, clear."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from reactor.cli import shown
from reactor.cli.ends import FAILED, WRONG, err, fail, guarded, out, tell
from reactor.cli.into import hand_over, pipeline_at
from reactor.cli.retry import retry as retry_
from reactor.core import LetterError
from reactor.deadletters import KeptLetter, Letters, LetterState, dead_letters
from reactor.delivery import Retry

app = typer.Typer(
    help="Look at dead letters, repair them, replay or discard them. URL is that of their topic, such as "
    "sqlite:shop.db/dead. An ID may be shortened to its first 4 characters or more.",
    no_args_is_help=True,
)

_AGO = re.compile(r"(\d+)([smhd])")
_LONG = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _time(text: str) -> datetime:
    """A time (UTC where it names no zone), or how long ago: 90s, 15m, 2h, 7d."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text}: neither a time (2026-03-01T12:00) nor how long ago (2h, 7d)"
        ) from None
    return time if time.utcoffset() is not None else time.replace(tzinfo=UTC)


def _delay(text: str) -> float:
    """Seconds, or 90s, 15m, 2h, 7d."""
    long = _LONG.fullmatch(text)
    if long is None:
        raise typer.BadParameter(f"{text}: a delay is seconds (60, 0.5), or 90s, 15m, 2h, 7d")
    return float(long[1]) * _SECONDS[long[2] or "s"]


def _state(text: str) -> LetterState:
    known: tuple[LetterState, ...] = ("open", "replayed", "failed again", "discarded")
    for state in known:
        if text.replace("-", " ") == state:
            return state
    raise typer.BadParameter(f"{text}: the states are open, replayed, failed-again, discarded")


Url = Annotated[str, typer.Argument(metavar="URL", help="The topic of the dead letters.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The dead letter.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The dead letters.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
OfPipeline = Annotated[str | None, typer.Option("--pipeline", help="Only those of this pipeline.")]
OfOperator = Annotated[str | None, typer.Option("--operator", help="Only those of this operator.")]
WithError = Annotated[str | None, typer.Option("--error", help="Only those whose error has this text in it.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since", parser=_time, metavar="TIME", help="Failed then or later: 2026-03-01T12:00, or 2h ago."
    ),
]
Until = Annotated[
    datetime | None, typer.Option("--until", parser=_time, metavar="TIME", help="Failed before then.")
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="URL",
        help="Publish to this topic; default: where it came from, and all groups of that read it again.",
    ),
]
Into = Annotated[
    str | None,
    typer.Option(
        "--into",
        metavar="MODULE:PIPELINE",
        help="Hand it to the operator of this pipeline that failed instead, and run what is behind that. It "
        "is a Pipeline, or a function that returns one.",
    ),
]
All = Annotated[
    bool, typer.Option("--all", help="All that are open, or those of them that the filters leave.")
]


@app.command("list")
def list_(
    url: Url,
    pipeline: OfPipeline = None,
    operator: OfOperator = None,
    error: WithError = None,
    since: Since = None,
    until: Until = None,
    state: Annotated[
        Any,
        typer.Option(
            "--state", parser=_state, metavar="STATE", help="open, replayed, failed-again or discarded."
        ),
    ] = None,
    tried: Annotated[
        int | None, typer.Option("--tried", metavar="TIMES", help="Only those tried so often, or more often.")
    ] = None,
    json: Json = False,
) -> None:
    """List dead letters, the oldest first."""

    async def main() -> int:
        async with dead_letters(url) as letters:
            found: list[KeptLetter] = []
            async for letter in letters.list(
                pipeline=pipeline,
                operator=operator,
                error=error,
                since=since,
                until=until,
                state=state,
                tried=tried,
            ):
                if json:
                    print(shown.as_json(letter))
                else:
                    found.append(letter)
            if found:
                out.print(shown.table(found, out.width))
            return len(found)

    number = guarded(main)
    if not json:
        err.print(f"{number} dead letter{'s'[: number != 1]}", highlight=False)


@app.command()
def show(url: Url, id: Id, json: Json = False) -> None:
    """Show one: its event, error and traceback, where it came from, and what was done with it."""

    async def main() -> None:
        letter = await dead_letters(url).get(id)
        if json:
            print(shown.as_json(letter))
        else:
            shown.show(out, letter)

    guarded(main)


@app.command()
def edit(
    url: Url,
    id: Id,
    event: Annotated[
        str | None,
        typer.Option("--event", metavar="JSON", help="The repaired event; default: $EDITOR opens it."),
    ] = None,
) -> None:
    """Repair the event that a later replay publishes. The original is kept beside it."""
    letter = guarded(lambda: dead_letters(url).get(id))
    if event is not None:
        try:
            new = msgspec.json.decode(event)
        except msgspec.DecodeError as error:
            fail(WRONG, f"--event: isn't JSON: {error}")
    else:
        new = _edited(letter)
        if new == letter.event:
            err.print("nothing was changed")
            return
    guarded(lambda: letter.edit(new))
    out.print(f"{letter.id}: repaired; replay publishes it", highlight=False, soft_wrap=True)


@app.command()
def replay(
    url: Url,
    ids: Ids = None,
    all: All = False,
    pipeline: OfPipeline = None,
    operator: OfOperator = None,
    error: WithError = None,
    since: Since = None,
    until: Until = None,
    event: Annotated[
        str | None, typer.Option("--event", metavar="JSON", help="Publish this instead; for one ID.")
    ] = None,
    to: To = None,
    into: Into = None,
) -> None:
    """Publish again what has failed, to the topic that it came from. Twice changes nothing."""
    how: dict[str, Any] = {}
    if event is not None:
        if len(ids or ()) != 1 or all:
            fail(WRONG, "--event: goes with one ID")
        try:
            how["event"] = msgspec.json.decode(event)
        except msgspec.DecodeError as problem:
            fail(WRONG, f"--event: isn't JSON: {problem}")
    if into is not None:
        if to is not None:
            fail(WRONG, "--to and --into: one of them")
        found, module = pipeline_at(into)

        async def hand(letters: Letters, chosen: list[KeptLetter]) -> int:
            return await hand_over(letters, chosen, found, module, **how)

        return _all(url, ids, all, (pipeline, operator, error, since, until), hand)

    async def one(letter: KeptLetter) -> str:
        done = await letter.replay(to=to, **how)
        where = f", position {', '.join(map(str, done.positions))}" if done.positions else ""
        return f"replayed to {done.topic}{where}"

    _each(url, ids, all, (pipeline, operator, error, since, until), one)


@app.command()
def retry(
    url: Url,
    after: Annotated[
        Any,
        typer.Option(
            "--after",
            parser=_delay,
            metavar="DELAY",
            help="From the failure to the first retry: seconds, or 90s, 15m, 2h. Each later one takes twice as "
            "long as the one before.",
        ),
    ] = "60",
    max: Annotated[
        Any, typer.Option("--max", parser=_delay, metavar="DELAY", help="The longest of these delays.")
    ] = "1h",
    jitter: Annotated[
        float,
        typer.Option(
            "--jitter", min=0, max=1, help="Each is shorter by a random part, so much of it at most."
        ),
    ] = 0.5,
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts",
            min=2,
            help="How often an event is tried in all; then its letter stays open, for you.",
        ),
    ] = 5,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until interrupted; default: one look at what is due.")
    ] = False,
    pipeline: OfPipeline = None,
    operator: OfOperator = None,
    error: WithError = None,
    to: To = None,
    into: Into = None,
) -> None:
    """Replay open dead letters that are old enough, and were not tried too often: a retry topic.

    All consumer groups of the topic read a retried event again. With --into, only the operator that failed gets
    it; with --to, only those who read that topic.
    """
    policy = Retry(attempts, initial=after, max=max, jitter=jitter)
    retry_(url, policy, follow, to, into, pipeline, operator, error)


@app.command()
def discard(
    url: Url,
    ids: Ids = None,
    all: All = False,
    pipeline: OfPipeline = None,
    operator: OfOperator = None,
    error: WithError = None,
    since: Since = None,
    until: Until = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is stored.")] = None,
) -> None:
    """Mark dead letters as done with. They stay where they are, and can still be replayed."""

    async def one(letter: KeptLetter) -> str:
        await letter.discard(reason=reason)
        return "discarded"

    _each(url, ids, all, (pipeline, operator, error, since, until), one)


@app.command()
def clear(url: Url) -> None:
    """Take those that were replayed or discarded out of a queue (SQS, Pub/Sub). A log keeps them."""
    number = guarded(lambda: dead_letters(url).clear())
    out.print(f"{number} dead letter{'s'[: number != 1]} taken out of the queue", highlight=False)


Filters = tuple[str | None, str | None, str | None, datetime | None, datetime | None]


def _each(
    url: str, ids: list[str] | None, all: bool, filters: Filters, do: Callable[[KeptLetter], Awaitable[str]]
) -> None:
    """Do it with these, or with all open ones; what can't be done with one doesn't hold up the others."""

    async def each(letters: Letters, chosen: list[KeptLetter]) -> int:
        failed = 0
        for letter in chosen:
            try:
                done = await do(letter)
            except LetterError as error:
                tell(f"error: {error}")
                failed += 1
            else:
                out.print(f"{letter.id}: {done}", highlight=False, markup=False, soft_wrap=True)
        return failed

    _all(url, ids, all, filters, each)


def _all(
    url: str,
    ids: list[str] | None,
    all: bool,
    filters: Filters,
    do: Callable[[Letters, list[KeptLetter]], Awaitable[int]],
) -> None:
    """Do it with these, or with all open ones; ``do`` returns how many failed."""
    if bool(ids) == all:
        fail(WRONG, "name dead letters by their IDs, or say --all, with filters or without")
    if ids and any(one is not None for one in filters):
        fail(WRONG, "filters go with --all, not with IDs")

    async def main() -> int:
        async with dead_letters(url) as letters:
            return await do(letters, await _chosen(letters, ids, filters))

    if guarded(main):
        raise typer.Exit(FAILED)


async def _chosen(letters: Letters, ids: list[str] | None, filters: Filters) -> list[KeptLetter]:
    if ids:
        return [await letters.get(id) for id in ids]  # all are found before anything is done with one
    pipeline, operator, error, since, until = filters
    found = letters.list(
        pipeline=pipeline, operator=operator, error=error, since=since, until=until, state="open"
    )
    return [letter async for letter in found]


def _edited(letter: KeptLetter) -> Any:
    """Let the user's editor change the event."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        fail(WRONG, "$EDITOR isn't set; set it, or pass --event JSON")
    encoded = msgspec.json.format(msgspec.json.encode(letter.event), indent=2)
    with tempfile.NamedTemporaryFile("wb", suffix=".json", prefix=f"{letter.id[:8]}-", delete=False) as file:
        file.write(encoded + b"\n")
    path = Path(file.name)
    try:
        code = subprocess.run([*shlex.split(editor), file.name], check=False).returncode
    except OSError as error:
        path.unlink()
        fail(WRONG, f"$EDITOR: {editor}: {error.strerror}")
    if code:
        _left(path, f"{editor} ended with {code}")
    try:
        new = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        _left(path, f"isn't JSON: {error}")
    path.unlink()
    return new


def _left(path: Path, why: str) -> NoReturn:
    fail(FAILED, f"{why}; nothing was stored, your text is in {path}")
