"""``python -m tests.load --minutes 5``: a pipeline at full speed; memory, handles and files stay as they are."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.load.measuring import HEAD, Sample, row
from tests.load.running import loaded


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument("--keys", type=int, default=10_000, help="customers (default: 10,000)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks (default: 5)")
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    parser.add_argument("--brief", action="store_true", help="some seconds only, in which no cache fills")
    given = parser.parse_args()

    def tell(sample: Sample, before: Sample | None) -> None:
        print(row(sample, before), flush=True)

    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        print(HEAD)
        verdict = asyncio.run(
            loaded(
                Path(folder),
                given.minutes * 60,
                keys=given.keys,
                every=given.every,
                brief=given.brief,
                tell=tell,
            )
        )
    print(*verdict.lines, sep="\n")
    print(f"{len(verdict.faults)} faults" if verdict.faults else "flat: nothing has grown")
    return bool(verdict.faults)


if __name__ == "__main__":
    sys.exit(main())
