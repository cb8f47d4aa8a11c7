"""``dead-letters replay --into MODULE:PIPELINE``: the pipeline is imported, and its operators get the events."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from reactor.cli.ends import WRONG, fail, out, tell
from reactor.core import ArgumentError, LetterError, ReactorError
from reactor.deadletters import NOTHING, Handing, KeptLetter, Letters
from reactor.pipeline import Pipeline


def pipeline_at(place: str) -> tuple[Pipeline, str]:
    """Return the pipeline that ``MODULE:NAME`` names, or the function of that name returns, and the module."""
    module, colon, name = place.partition(":")
    if not colon or not module or not name:
        fail(WRONG, f"--into {place}: write MODULE:PIPELINE, for example shop.billing:pipeline")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        if callable(found) and not isinstance(found, Pipeline):
            found = found()
    except ReactorError as error:
        fail(WRONG, f"--into {place}: {error}")
    except Exception as error:  # it may be anything that the module does
        fail(WRONG, f"--into {place}: {type(error).__name__}: {error}")
    if not isinstance(found, Pipeline):
        fail(
            WRONG,
            f"--into {place}: is a {type(found).__name__}, and neither a Pipeline nor a function of one",
        )
    return found, module


async def hand_over(
    letters: Letters, chosen: list[KeptLetter], pipeline: Pipeline, module: str, event: Any = NOTHING
) -> int:
    """Hand these to their operators; return how many couldn't be, or have failed again."""
    handing, failed = Handing(letters, pipeline, module), 0
    ready: list[KeptLetter] = []
    for letter in chosen:
        try:
            handing.add(letter, event)
        except ArgumentError:
            raise
        except LetterError as error:
            tell(f"error: {error}")
            failed += 1
        else:
            ready.append(letter)
    try:
        await handing.run()
    except ReactorError:
        raise
    except Exception as error:
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        tell(f"error: the replay failed with {type(error).__name__}: {error}{notes}")
        failed += 1
        await handing.refresh()
    for letter in ready:
        if letter.later is not None:
            tell(f"{letter.id}: failed again as {letter.later}")
            failed += 1
        elif letter.state == "replayed":
            out.print(
                f"{letter.id}: replayed into {letter.operator}", highlight=False, markup=False, soft_wrap=True
            )
    return failed
