"""How commands end: what they print where something is wrong, and their exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import anyio
import typer
from rich.console import Console

from reactor.core import ArgumentError, ReactorError, UnknownLetter

R = TypeVar("R")

FAILED, WRONG, INTERRUPTED = 1, 2, 130

_WIDE = 200

# What goes to a file or another program isn't cut to the 80 columns that rich would take.
out = Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=_WIDE)
err = Console(stderr=True)


def guarded(main: Callable[[], Awaitable[R]]) -> R:
    """Run it; what the user can mend is told in one line: exit code 2 for a wrong call, else 1."""
    try:
        return anyio.run(main)
    except (ArgumentError, UnknownLetter) as error:
        fail(WRONG, str(error))
    except ReactorError as error:
        fail(FAILED, str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        sys.stderr.close()  # who read our output has seen enough: no word about it
        raise typer.Exit(FAILED) from None


def tell(text: str) -> None:
    """A line about what is wrong."""
    err.print(text, soft_wrap=True, highlight=False, markup=False, style="red")


def fail(code: int, text: str) -> NoReturn:
    """End with that."""
    tell(f"error: {text}")
    raise typer.Exit(code)
