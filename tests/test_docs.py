"""The documentation holds: every example runs and prints what it says, every target, link and name is there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from reactor import Keyed, Stream

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = ROOT / "Makefile"
OPERATORS = [
    *(name for name in vars(Stream) if not name.startswith("_")),
    *(name for name in vars(Keyed) if not name.startswith("_")),
]

FENCE = re.compile(
    r"^(?P<mark><!-- [^\n]*-->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    page: Path
    line: int
    mark: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


class Example(NamedTuple):
    """A Python block, and what the block after it, marked as its output, says that it prints."""

    block: Block
    output: str | None

    def __str__(self) -> str:
        return str(self.block)


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            text[: found.start()].count("\n") + 1,
            (found["mark"] or "").strip("<!-> \n"),
            found["language"],
            found["text"],
        )
        for found in FENCE.finditer(text)
    ]


def examples() -> list[Example]:
    found = []
    for page in PAGES:
        every = [*blocks(page), None]
        for block, after in zip(every, every[1:], strict=False):
            if block is not None and block.language == "python" and block.mark != "not run":
                output = after.text if after is not None and after.mark == "output" else None
                found.append(Example(block, output))
    return found


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("example", examples(), ids=str)
def test_an_example_runs_and_prints_what_the_page_says(example: Example, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(example.block.text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, f"{example}:\n{done.stderr}"
    assert not done.stderr, f"{example}:\n{done.stderr}"
    if example.output is not None:
        assert done.stdout.rstrip() == example.output.rstrip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_output_stands_behind_its_example(page: Path) -> None:
    before = ""
    for block in blocks(page):
        assert block.mark != "output" or before == "python", f"{block}: whose output is this?"
        before = block.language


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", MAKEFILE.read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\$ )make (\w+)", page.read_text("utf-8"), re.MULTILINE))
    assert named <= targets
    assert named or page.name != "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in (found["target"] for found in LINK.finditer(prose(page))):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            broken.append(target)
        elif anchor and anchor not in map(slug, re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", ["README.md", "docs/operators.md"])
def test_every_operator_is_named(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert [name for name in OPERATORS if not re.search(rf"\b{name}\b", text)] == []


def test_the_page_of_the_operators_is_made_of_their_docstrings(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_operators.py", tmp_path / "operators.md"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=20,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    written = (tmp_path / "operators.md").read_text("utf-8")
    assert written == (ROOT / "docs" / "operators.md").read_text("utf-8"), "run python docs/make_operators.py"


def test_no_page_names_a_path_of_some_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(home|Users|tmp|work)/", page.read_text("utf-8")), page.name
