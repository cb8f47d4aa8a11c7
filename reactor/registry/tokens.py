"""The words, numbers, texts and signs of a .proto file."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/
      | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>(?:[0-9]|\.[0-9])[0-9a-zA-Z_.+]*)
      | (?P<sign>[{}()\[\]<>;:=,.+\-/])""",
    re.VERBOSE | re.DOTALL,
)


class Tokens:
    """Takes one after the other. Raises ValueError where another is expected."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        at, line = 0, 1
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"isn't a .proto file: line {line}: {text[at]!r} isn't expected")
            if match.lastgroup is not None:
                self._tokens.append((match.lastgroup, match[0], line))
            line += match[0].count("\n")
            at = match.end()
        self._tokens.append(("end", "its end", line))

    def _wrong(self, wanted: str) -> ValueError:
        _, found, line = self._tokens[self._at]
        return ValueError(f"isn't a .proto file: line {line}: {found} stands where {wanted} is expected")

    @property
    def _next(self) -> str:
        return self._tokens[self._at][1]

    def _take(self, kind: str, wanted: str) -> str:
        found, text, _ = self._tokens[self._at]
        if found != kind:
            raise self._wrong(wanted)
        self._at += 1
        return text

    def _sign(self, sign: str) -> None:
        if not self._has(sign):
            raise self._wrong(sign)

    def _has(self, text: str) -> bool:
        kind, found, _ = self._tokens[self._at]
        if found != text or kind not in ("sign", "word"):
            return False
        self._at += 1
        return True

    def _word(self, wanted: str = "a name") -> str:
        return self._take("word", wanted)

    def _text(self) -> str:
        text = self._take("text", "a text")[1:-1]
        while self._tokens[self._at][0] == "text":
            text += self._take("text", "a text")[1:-1]
        return text

    def _number(self) -> int:
        negative = self._has("-")
        text = self._take("number", "a number")
        try:
            found = int(text, 8) if re.fullmatch("0[0-7]+", text) else int(text, 0)
        except ValueError:
            self._at -= 1
            raise self._wrong("a whole number") from None
        return -found if negative else found

    def _path(self) -> str:
        """A name with dots, also before the first."""
        name = "." if self._has(".") else ""
        name += self._word("a type")
        while self._has("."):
            name += f".{self._word()}"
        return name

    def _skip(self, closes: str = ";") -> None:
        """Pass over a statement, or a block with all that is in it."""
        depth = 0
        while True:
            kind, text, _ = self._tokens[self._at]
            if kind == "end":
                raise self._wrong(closes)
            self._at += 1
            if kind != "sign":
                continue
            if text in "{[(":
                depth += 1
            elif text in "}])":
                depth -= 1
                if depth == 0 and text == "}" and closes == "}":
                    return
            elif text == closes and depth == 0:
                return
