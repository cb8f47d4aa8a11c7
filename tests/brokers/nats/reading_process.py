"""Reads a group, says what it has got, and settles only the first few: for a test that kills it.

Arguments: URL, group, how many to settle.
"""

from __future__ import annotations

import sys

import anyio

from reactor import topic


async def main() -> None:
    source = topic(sys.argv[1]).source(sys.argv[2])
    await source.open()
    settled = int(sys.argv[3])
    seen = 0
    while True:
        for record in await source.read(100) or ():
            seen += 1
            if seen == settled:
                await source.commit(settled)
            print(record.value["number"], flush=True)


anyio.run(main)
