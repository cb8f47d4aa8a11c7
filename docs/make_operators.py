"""Writes docs/operators.md from the docstrings: ``python docs/make_operators.py [FILE]``."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reactor import Keyed, Stream, Windows
from reactor.arguments import DEFAULTS
from reactor.operators import NOTHING

HEAD = """\
<!-- Made by docs/make_operators.py from the docstrings. Change those, or the examples there. -->

# The operators

Each method of a [`Stream`](guide.md#streams-and-operators) returns a new stream. Three lines say what it does
with time: when it *emits*, when it holds its input back (*backpressures*), and when it *completes*. They are
executed as tests.

- **timeout, retry, breaker, on_error**: see [Errors](guide.md#errors). **concurrency, ordered, key, threads,
  processes**: see [Functions](guide.md#functions). **name** is how errors, metrics and `explain()` call the
  operator, and what its saved state is filed under.
- **volatile**: an operator that *remembers* is refused over a subscribed topic, which is read on from its
  saved position after a restart, unless the pipeline has `checkpoint=`, or `volatile=True` accepts that what
  was remembered is lost.
"""

# Each family: heading, what is to be said first, an example, what that prints, the operators.
FAMILIES: list[tuple[str, str, str, str, list[Callable[..., Any]]]] = [
    (
        "One event in, some out",
        "Neighbours whose functions are sync run together, in one loop that is written for them.",
        """\
words = Stream(["to be", "or not"]).flat_map(str.split).filter(lambda word: word != "or").map(str.upper)
print(await words.collect())
""",
        "['TO', 'BE', 'NOT']",
        [
            Stream.map,
            Stream.starmap,
            Stream.filter,
            Stream.tap,
            Stream.flat_map,
            Stream.switch_map,
            Stream.of_type,
        ],
    ),
    (
        "Remembering",
        "What these remember lives as long as the run, in memory.",
        """\
print(await Stream([3, 1, 3, 2]).scan(lambda total, n: total + n, 0).collect())
print(await Stream([3, 1, 3, 2]).distinct().take(2).collect())
print(await Stream(["a1", "b1", "a2"]).key_by(lambda s: s[0]).scan(lambda n, _: n + 1, 0).collect())
""",
        "[3, 4, 7, 9]\n[3, 1]\n[('a', 1), ('b', 1), ('a', 2)]",
        [
            Stream.scan,
            Stream.take,
            Stream.take_while,
            Stream.skip,
            Stream.skip_while,
            Stream.distinct,
            Stream.enumerate,
            Stream.pairwise,
            Stream.key_by,
            Keyed.reduce,
            Keyed.scan,
        ],
    ),
    (
        "Grouping and waiting",
        "A barrier (what commits positions, and what `deliver` waits for) goes on behind what these hold.",
        """\
print(await Stream(range(5)).batch(2).collect())
print(await Stream(["ab", "cde", "f"]).batch(max_weight=4, weight=len).collect())
limit = RateLimit(100, per=1, burst=10)
print(await Stream(range(12)).rate_limit(limit).count())
""",
        "[[0, 1], [2, 3], [4]]\n[['ab'], ['cde', 'f']]\n12",
        [Stream.batch, Stream.rate_limit, Stream.buffer, Stream.conflate],
    ),
    (
        "By the clock",
        "The run's clock: tests drive it, see [testing](testing.md).",
        """\
ticks = Stream(range(100)).map(lambda n: n * n)
print(await ticks.throttle(60).collect())
print(await ticks.debounce(60).collect())
""",
        "[0]\n[9801]",
        [Stream.throttle, Stream.debounce, Stream.sample, Stream.delay, Stream.timeout],
    ),
    (
        "Event time, windows, joins",
        "See [event time](guide.md#event-time-and-windows). All of these remember, in memory.",
        """\
sales = [("UK", 10, 5), ("FR", 12, 7), ("UK", 65, 1), ("UK", 50, 2)]  # country, second, amount
timed = Stream(sales).event_time(lambda sale: sale[1], out_of_order=30, unit="s")
minutes = timed.key_by(lambda sale: sale[0]).window(Tumbling(60))
async for result in minutes.sum(lambda sale: sale[2]):
    print(result.key, result.window.starts_at.strftime("%H:%M"), result.value)
""",
        "UK 00:00 7\nFR 00:00 7\nUK 00:01 1",
        [
            Stream.event_time,
            Stream.window,
            Keyed.window,
            Windows.count,
            Windows.sum,
            Windows.mean,
            Windows.min,
            Windows.max,
            Windows.collect,
            Windows.reduce,
            Windows.fold,
            Windows.top,
            Windows.quantile,
            Windows.aggregate,
            Keyed.join,
            Keyed.join_table,
            Keyed.process,
        ],
    ),
    (
        "Several streams become one",
        "",
        """\
letters, numbers = Stream(["a", "b", "c"]), Stream([1, 2])
print(await letters.concat(numbers).collect())
print(await letters.zip(numbers).collect())
print(sorted(map(str, await letters.merge(numbers).collect())))
""",
        "['a', 'b', 'c', 1, 2]\n[('a', 1), ('b', 2)]\n['1', '2', 'a', 'b', 'c']",
        [
            Stream.merge,
            Stream.concat,
            Stream.interleave,
            Stream.zip,
            Stream.combine_latest,
            Stream.with_latest,
        ],
    ),
    (
        "One stream becomes several",
        "Every branch has to be used: one that isn't is a fault of the graph.",
        """\
even, odd = Stream(range(4)).split(lambda n: n % 2 == 0)
pipeline = Pipeline(
    "parity", even.to(lambda n: print(n, "is even")), odd.map(lambda n: f"{n} is odd").to(print)
)
await pipeline.run()
""",
        "",
        [Stream.split, Stream.split_by_type, Stream.route],
    ),
    (
        "Composition",
        "",
        """\
def cheap(orders: Stream[int], limit: int) -> Stream[int]:
    return orders.filter(lambda price: price < limit)

print(await Stream([5, 50, 7]).through(cheap, 10).collect())
""",
        "[5, 7]",
        [Stream.through],
    ),
    (
        "Ends",
        "A [`Pipeline`](guide.md#runs) is made of branches that end in one of these.",
        "",
        "",
        [Stream.to, Stream.discard],
    ),
    (
        "In place",
        "These run the stream where they stand, and need no pipeline.",
        """\
numbers = Stream([3, 1, 2])
print(await numbers.first(), await numbers.last(), await numbers.count())
print(await numbers.fold(max, 0))
async for number in numbers.map(str):
    print(number, end=" ")
async with numbers.buffer(2).open() as events:
    async for event in events:
        print(event, end=" ")
""",
        "3 2 3\n3\n3 1 2 3 1 2",
        [Stream.collect, Stream.first, Stream.last, Stream.count, Stream.fold, Stream.open],
    ),
]


def signature(operator: Callable[..., Any]) -> str:
    """The call as a user writes it, without types."""
    empty = inspect.Parameter.empty
    parameters: list[inspect.Parameter] = []
    for parameter in list(inspect.signature(operator).parameters.values())[1:]:
        parameter = parameter.replace(annotation=empty)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:  # what map, starmap and flat_map share
            parameters += [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
                for name, default in DEFAULTS.items()
            ]
        elif parameter.default is NOTHING:
            parameters.append(parameter.replace(default=...))
        else:
            parameters.append(parameter)
    shown = str(inspect.Signature(parameters)).replace("=Ellipsis", "=...")
    owner = operator.__qualname__.partition(".")[0].lower()
    return f"{owner}.{operator.__name__}{shown}"


def entry(operator: Callable[..., Any]) -> list[str]:
    """Heading, signature, what it says; the three lines as a list."""
    said = inspect.cleandoc(operator.__doc__ or "").replace("``", "`").splitlines()
    title = operator.__qualname__.removeprefix("Stream.")
    lines = [f"### {title}", "", "```text", signature(operator), "```", ""]
    for line in said:
        when, colon, rest = line.partition(" when: ")
        is_when = colon and when in ("Emits", "Backpressures", "Completes")
        lines.append(f"- *{when} when:* {rest}" if is_when else line)
    return [*lines, ""]


def example(code: str, output: str) -> list[str]:
    """The code as a program that can be run by itself."""
    needed = [name for name in ("Pipeline", "RateLimit", "Stream", "Tumbling") if name in code]
    body = [f"    {line}".rstrip() for line in code.splitlines()]
    program = ["import asyncio", "", f"from reactor import {', '.join(needed)}", "", ""]
    program += ["async def main() -> None:", *body, "", "", "asyncio.run(main())"]
    lines = ["```python", *program, "```", ""]
    return [*lines, "<!-- output -->", "```text", output, "```", ""] if output else lines


def page() -> str:
    lines = [HEAD]
    for heading, text, code, output, operators in FAMILIES:
        lines += [f"## {heading}", ""]
        lines += [text, ""] if text else []
        lines += example(code, output) if code else []
        for operator in operators:
            lines += entry(operator)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("operators.md")
    target.write_text(page(), "utf-8")
