"""The documentation holds: every example runs and prints what it says, every target, link and name is there."""

import os
import re
import runpy
import subprocess
import sys
from itertools import pairwise
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
        for block, after in pairwise(every):
            if block is not None and block.language == "python" and block.mark != "not run":
                output = after.text if after is not None and after.mark == "output" else None
                found.append(Example(block, output))
    return found


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def python(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


def anchors(page: Path) -> list[str]:
    return [slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)]


@pytest.mark.blocking  # an example prints
@pytest.mark.timeout(60)
@pytest.mark.parametrize("example", examples(), ids=str)
def test_an_example_runs_and_prints_what_the_page_says(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "example.py"
    script.write_text(example.block.text, "utf-8")
    monkeypatch.chdir(tmp_path)
    if "processes=" in example.block.text:  # which import the file that the program was started from
        done = python(script.name)
        assert done.returncode == 0, done.stderr
        printed, complaints = done.stdout, done.stderr
    else:
        runpy.run_path(script.name, run_name="__main__")
        printed, complaints = capfd.readouterr()
    assert not complaints
    if example.output is not None:
        assert printed.rstrip() == example.output.rstrip()


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
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", ["README.md", "docs/operators.md"])
def test_every_operator_is_named(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert [name for name in OPERATORS if not re.search(rf"\b{name}\b", text)] == []


def test_the_page_of_the_operators_is_made_of_their_docstrings(tmp_path: Path) -> None:
    made = python(ROOT / "docs" / "make_operators.py", tmp_path / "operators.md")
    assert made.returncode == 0, made.stderr
    written = (tmp_path / "operators.md").read_text("utf-8")
    assert written == (ROOT / "docs" / "operators.md").read_text("utf-8"), "run python docs/make_operators.py"


def test_no_page_names_a_path_of_some_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(home|Users|tmp|work)/", page.read_text("utf-8")), page.name
