"""``dead-letters retry``: dead letters are replayed by themselves after a while, once or with ``--follow``."""

from __future__ import annotations

import signal
from types import FrameType

import typer

from reactor.cli.ends import FAILED, WRONG, fail, guarded, out, tell
from reactor.cli.into import pipeline_at
from reactor.core import LetterError, ReactorError
from reactor.deadletters import KeptLetter, Retrying, dead_letters
from reactor.delivery import Retry


def retry(
    url: str,
    policy: Retry,
    follow: bool,
    to: str | None,
    into: str | None,
    pipeline: str | None,
    operator: str | None,
    error: str | None,
) -> None:
    """Retry the letters that are due, and say what was done with each; exit code 1 where one can't be."""
    if to is not None and into is not None:
        fail(WRONG, "--to and --into: one of them")
    found, module = (None, None) if into is None else pipeline_at(into)
    refused: list[str] = []

    def told(letter: KeptLetter, problem: LetterError | None) -> None:
        if problem is not None:
            refused.append(letter.id)
            tell(f"error: {problem}")
        elif letter.later is not None:
            tell(f"{letter.id}: failed again as {letter.later}")
        else:
            done = next(one for one in letter.actions if one.action == "replayed")
            where = f"to {done.topic}" if done.into is None else f"into {done.into}"
            line = f"{letter.id}: replayed {where}, try {done.attempt + 1} of {policy.calls}"
            out.print(line, highlight=False, markup=False, soft_wrap=True)

    async def main() -> None:
        retrying = Retrying(
            dead_letters(url),
            policy,
            to=to,
            into=found,
            main=module,
            pipeline=pipeline,
            operator=operator,
            error=error,
            told=told,
        )
        try:
            await retrying.run(follow)
        except ReactorError:
            raise
        except Exception as problem:  # it may be anything that the pipeline does
            notes = "".join(f"; {note}" for note in getattr(problem, "__notes__", ()))
            fail(FAILED, f"the retry failed with {type(problem).__name__}: {problem}{notes}")

    if follow:  # who stops it as services are stopped interrupts it
        signal.signal(signal.SIGTERM, _interrupt)
    guarded(main)
    if refused:
        raise typer.Exit(FAILED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)
