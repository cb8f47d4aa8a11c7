"""What the checkers refuse. An ignore that isn't needed is an error itself, so each of these lines is a test."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence

from reactor import Inlet, Pipeline, Sink, Stream, table

numbers: Stream[int] = Stream([1])


def upper(text: str) -> str:
    return text.upper()


class Texts(Sink[str]):
    async def write(self, events: Sequence[str]) -> None: ...


numbers.map(upper)  # type: ignore[arg-type]
numbers.filter(upper)  # type: ignore[arg-type]
numbers.to(Texts())  # type: ignore[arg-type]
numbers.to(upper)  # type: ignore[arg-type]
texts = table("sqlite:shop.db/texts", str)
numbers.to(texts)  # type: ignore[arg-type]
table("sqlite:shop.db/texts")  # type: ignore[call-overload]
numbers.take("three")  # type: ignore[arg-type]
numbers.buffer(3, "wait")  # type: ignore[arg-type]
numbers.map(str, concurency=3)  # type: ignore[call-overload]
numbers.map(str, on_error="skip")  # type: ignore[call-overload]
numbers.merge([1])  # type: ignore[call-overload]
numbers.key_by(upper)  # type: ignore[arg-type]
Pipeline("p", numbers)  # type: ignore[arg-type]
Stream(5)  # type: ignore[call-overload]
wrong: Stream[str] = numbers  # type: ignore[assignment]
text_only: Inlet[str] = Inlet[int]()  # type: ignore[assignment]
