"""Peak memory of one query: ``python -m benchmarks.nexmark.memory SYSTEM QUERY EVENTS``.

Here the events are made while the query runs, and nothing keeps them but the query.
"""

import json
import sys
from dataclasses import asdict

from benchmarks.memory import in_process, peak_mib

from .events import Market, generate
from .measuring import run


def main(system: str, query: str, events: int, market: str) -> None:
    rows = run(system, query, generate(events, Market(**json.loads(market))))
    json.dump({"peak_mib": peak_mib(), "rows": rows}, sys.stdout)


def measure(system: str, query: str, events: int, market: Market) -> float:
    """MiB, in a process of its own."""
    found = in_process("benchmarks.nexmark.memory", system, query, events, json.dumps(asdict(market)))
    return round(float(found["peak_mib"]), 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
