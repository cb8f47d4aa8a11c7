"""What dead letters look like: a table, one in full, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from reactor.deadletters import KeptLetter, LetterAction

_GAP = 2
_TIME = 20
_LEAST = 12
_COLOURS = {"open": "yellow", "replayed": "green", "failed again": "red", "discarded": "dim"}


def when(time: int) -> str:
    """Microseconds since the epoch as a time that ``--since`` takes."""
    return datetime.fromtimestamp(time / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_json(letter: KeptLetter) -> str:
    """One line; ``event`` is what a replay publishes, ``given`` what the operator was given."""
    stored = msgspec.to_builtins(letter.stored)
    given = stored.pop("event")
    whole: dict[str, Any] = {
        "id": letter.id,
        "state": letter.state,
        **stored,
        "event": letter.event,
        "given": given,
        "earlier": letter.earlier,
        "later": letter.later,
        "actions": letter.actions,
    }
    return msgspec.json.encode(whole).decode()


def table(letters: Sequence[KeptLetter], width: int) -> Table:
    """One line a letter, with as much of its id as tells it apart.

    Id, time and state are never cut; what is left of the ``width`` goes to the others, the error first.
    """
    length = _telling([letter.id for letter in letters])
    states = [_state(letter) for letter in letters]
    places = [f"{letter.pipeline}/{letter.operator}" for letter in letters]
    events = [_line(letter.event) for letter in letters]
    errors = [" ".join(letter.error.split()) for letter in letters]
    left = max(0, width - length - _TIME - _longest("state", states) - 5 * _GAP)
    place = min(left // 3, _longest("pipeline/operator", places))
    rest = left - place
    event = min(max(rest // 3, rest - _longest("error", errors)), _longest("event", events))
    if event < min(_LEAST, _longest("event", events)):  # it would tell nothing: ``show`` has it
        event = 0
    columns: list[tuple[str, int, list[Text]]] = [
        ("id", length, [Text(letter.id[:length]) for letter in letters]),
        ("failed at", _TIME, [Text(when(letter.stored.time)) for letter in letters]),
        (
            "state",
            _longest("state", states),
            [Text(text, style=_COLOURS[letter.state]) for text, letter in zip(states, letters, strict=True)],
        ),
        ("pipeline/operator", place, [Text(place) for place in places]),
        ("event", event, [Text(event) for event in events]),
        ("error", rest - event, [Text(error) for error in errors]),
    ]
    columns = [column for column in columns if column[1]]
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, size, _ in columns:
        made.add_column(name, no_wrap=True, overflow="ellipsis", width=size)
    for row in zip(*(cells for _, _, cells in columns), strict=True):
        made.add_row(*row)
    return made


def show(console: Console, letter: KeptLetter) -> None:
    """All that there is to know."""
    stored = letter.stored
    rows: list[tuple[str, RenderableType]] = [
        ("id", Text(letter.id)),
        ("state", Text(_state(letter), style=_COLOURS[letter.state])),
        (
            "failed at",
            Text(f"{when(stored.time)}, after {stored.attempts} attempt{'s'[: stored.attempts != 1]}"),
        ),
        ("in", Text(f"{letter.pipeline}/{letter.operator}")),
        ("error", Text(letter.error, style="bold")),
    ]
    for record in stored.records:
        rows.append(("came from", Text(f"{record.topic}, position {record.position}, key {record.key}")))
        rows += [("header", Text(f"{name}: {text}")) for name, text in record.headers.items()]
    if letter.earlier is not None:
        rows.append(("replay of", Text(letter.earlier)))
    if letter.later is not None:
        rows.append(("failed again", Text(f"as {letter.later}")))
    if letter.event != stored.event:
        rows.append(("given", Text(_json(stored.event))))
    rows.append(("event", Text(_json(letter.event))))
    rows += [(action.action, Text(_done(action))) for action in letter.actions]
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for row in rows:
        made.add_row(*row)
    console.print(made)
    console.print()
    console.print(stored.traceback.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _state(letter: KeptLetter) -> str:
    """Its state, and whether the event had failed before: ``open, replay 2``."""
    attempt = letter.stored.attempt
    return f"{letter.state}, replay {attempt}" if attempt else letter.state


def _done(action: LetterAction) -> str:
    text = when(action.time)
    if action.action == "replayed":
        places = ", ".join(map(str, action.positions))
        where = f"to {action.topic}, position {places}" if action.into is None else f"into {action.into}"
        text += f", {where}, attempt {action.attempt}"
    if action.reason:
        text += f": {action.reason}"
    if action.action == "edited":
        text += f": {_line(action.event)}"
    return text


def _telling(ids: Sequence[str]) -> int:
    """How much of each id tells them all apart."""
    length = 8
    while length < 36 and len({id[:length] for id in ids}) < len(set(ids)):
        length += 1
    return length


def _longest(head: str, texts: Sequence[str]) -> int:
    return max(cell_len(text) for text in (head, *texts))


def _line(value: Any) -> str:
    return " ".join(_json(value, 0).split())


def _json(value: Any, indent: int = 2) -> str:
    if isinstance(value, str):
        return value
    encoded = msgspec.json.encode(value)
    return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()
