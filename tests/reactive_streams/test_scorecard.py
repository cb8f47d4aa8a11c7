"""docs/reactive-streams.md is true: every rule stands there once, and every test that it names is there."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reactive-streams.md"
HERE = "tests/reactive_streams"

SECTIONS = {"Publisher": 11, "Subscriber": 13, "Subscription": 17, "Processor": 2}
VERDICTS = ("kept", "not applicable", "untested", "broken")

RULE = re.compile(
    r"^- \*\*(?P<number>\d\.\d+)\*\* (?P<verdict>[a-z ]+): \*(?P<asks>[^*]+)\*(?P<text>(?:.*\n)(?:  .*\n)*)",
    re.MULTILINE,
)
TEST = re.compile(r"`(tests/\w+/\w+\.py)::(\w+)`")


class Rule(NamedTuple):
    number: str
    verdict: str
    text: str
    tests: list[tuple[str, str]]

    def __str__(self) -> str:
        return self.number


def rules() -> list[Rule]:
    found = RULE.finditer(PAGE.read_text("utf-8"))
    return [Rule(f["number"], f["verdict"], f["text"], TEST.findall(f["text"])) for f in found]


RULES = rules()
every = pytest.mark.parametrize("rule", RULES, ids=str)


@cache
def collected() -> frozenset[tuple[str, str]]:
    """The tests that pytest finds in the files that the page names."""
    files = sorted({file for rule in RULES for file, _ in rule.tests})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return frozenset(re.findall(r"^(tests/\S+?\.py)::(\w+)", done.stdout, re.MULTILINE))


def expected_to_fail(file: str, test: str) -> bool:
    """True where some case of the test is marked as failing, or as not to be run."""
    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == test:
            marks = " ".join(ast.unparse(each) for each in node.decorator_list)
            return re.search(r"\bmark\.(xfail|skip)|\bbroken\(", marks) is not None
    raise AssertionError(f"{file}::{test} isn't there")


def test_every_rule_stands_there_once_in_its_order() -> None:
    expected = [
        f"{section}.{number}"
        for section, count in enumerate(SECTIONS.values(), 1)
        for number in range(1, count + 1)
    ]
    assert [rule.number for rule in RULES] == expected
    # No entry is written in a form that isn't read here.
    assert len(re.findall(r"^- \*\*", PAGE.read_text("utf-8"), re.MULTILINE)) == len(RULES)


@every
def test_the_verdict_is_one_of_four_and_has_what_it_needs(rule: Rule) -> None:
    assert rule.verdict in VERDICTS
    failing = [test for test in rule.tests if expected_to_fail(*test)]
    if rule.verdict == "kept":
        assert rule.tests, "kept: which test shows it?"
        assert not failing, "kept, though a test is expected to fail"
    elif rule.verdict == "broken":
        assert failing, "broken: which test shows it?"
    else:
        assert not rule.tests
        assert len(TEST.sub("", rule.text).split()) > 5, "why?"


@every
@pytest.mark.timeout(120)
def test_every_test_that_is_named_exists(rule: Rule) -> None:
    assert [test for test in rule.tests if test not in collected()] == []
    assert len(set(rule.tests)) == len(rule.tests)


@pytest.mark.timeout(120)
def test_every_test_of_this_folder_is_named() -> None:
    named = {test for rule in RULES for test in rule.tests}
    here = {test for test in collected() if test[0].startswith(HERE)}
    assert here - named == set()


def test_the_score_is_what_the_rules_add_up_to() -> None:
    table = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.M)
    counted = []
    for number, section in enumerate(SECTIONS, 1):
        verdicts = [rule.verdict for rule in RULES if rule.number.startswith(f"{number}.")]
        counts = [verdicts.count(verdict) for verdict in VERDICTS]
        counted.append((section, *map(str, (len(verdicts), *counts))))
    assert table == counted
