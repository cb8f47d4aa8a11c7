"""``python -m reactor``: the command line, which needs the extra ``cli``."""

import sys

from reactor.core import MissingExtra


def main() -> None:
    """Run it; say what to install where typer or rich are missing."""
    try:
        from reactor.cli import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich", "click"):
            raise
        print(f"error: {MissingExtra('python -m reactor', 'cli')}", file=sys.stderr)
        raise SystemExit(2) from None
    app(prog_name="python -m reactor")


if __name__ == "__main__":
    main()
