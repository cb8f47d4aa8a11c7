"""``python -m reactor dead-letters retry`` as a process: once, followed, stopped, killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_dead_letters_command import ROOT, Done, Shell, bill

pytestmark = pytest.mark.timeout(240)

APPLICATION = """
import os
import signal
from pathlib import Path

from reactor import DeadLetters, Pipeline, StoredLetter, topic
from tests.cli.test_dead_letters_command import Payment


def charge(payment: Payment) -> str:
    if payment.amount < 0 and Path("down").exists():
        raise ValueError(f"{payment.order}: declined again")
    return payment.order


def charged(order: str) -> None:
    with open("charged", "a") as file:
        file.write(order + "\\n")
    if Path("killing").exists():
        os.kill(os.getpid(), signal.SIGKILL)


def billing() -> Pipeline:
    payments = topic("sqlite:shop.db/payments", Payment)
    done = payments.subscribe("billing", follow=False).map(charge, on_error=DeadLetters(), name="charge")
    return Pipeline("billing", done.to(charged), dead_letters=topic("sqlite:shop.db/dead", StoredLetter))
"""

INTO = ("--into", "application:billing")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shop in which the payments A1 and A2 were declined."""
    bill(tmp_path, 5, -1, -2)
    (tmp_path / "application.py").write_text(APPLICATION)
    return Shell(tmp_path)


def retry(shell: Shell, *arguments: str) -> Done:
    return shell("dead-letters", "retry", shell.dead, *arguments)


def states(shell: Shell) -> list[str]:
    return [letter["state"] for letter in shell.letters()]


def charged(shell: Shell) -> list[str]:
    file = shell.folder / "charged"
    return file.read_text().split() if file.exists() else []


def following(shell: Shell, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reactor", "dead-letters", "retry", shell.dead, "--follow", *arguments],
        cwd=shell.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it didn't come to that"
        time.sleep(0.05)


def test_only_what_is_old_enough_is_published_again(shell: Shell) -> None:
    done = retry(shell, "--after", "1h")
    assert (done.code, done.out, done.err) == (0, "", "")
    ids = [letter["id"] for letter in shell.letters()]
    done = retry(shell, "--after", "0", "--error", "A2")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{ids[1]}: replayed to sqlite:shop.db/payments, try 2 of 5\n"
    assert states(shell) == ["open", "replayed"]
    assert [payment["order"] for payment in shell.published()] == ["A0", "A1", "A2", "A2"]


def test_into_the_operator_until_it_was_tried_so_often(shell: Shell) -> None:
    (shell.folder / "down").touch()
    first, second = (letter["id"] for letter in shell.letters())
    done = retry(shell, "--after", "0", "--attempts", "2", *INTO)
    later = [letter["id"] for letter in shell.letters()[2:]]
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{first}: failed again as {later[0]}\n{second}: failed again as {later[1]}\n"
    done = retry(shell, "--after", "0", "--attempts", "2", *INTO)
    assert (done.code, done.out) == (0, "")
    assert "tried 2 times or more stay open, and aren't retried: 2" in done.err
    assert states(shell) == ["failed again", "failed again", "open", "open"]
    assert [letter["id"] for letter in shell.letters("--tried", "2")] == later
    assert charged(shell) == []


def test_following_goes_on_until_it_is_stopped(shell: Shell) -> None:
    (shell.folder / "down").touch()
    with following(shell, "--after", "0.2", "--attempts", "50", *INTO) as process:
        try:
            until(lambda: len(shell.letters("--tried", "3")) >= 2)
            (shell.folder / "down").unlink()
            # One that is charged is open until that has been written down, too.
            until(lambda: set(states(shell)) == {"failed again", "replayed"})
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in told
    assert set(states(shell)) == {"failed again", "replayed"}
    assert sorted(charged(shell)) == ["A1", "A2"]


def test_one_that_is_killed_loses_none(shell: Shell) -> None:
    (shell.folder / "killing").touch()
    assert retry(shell, "--after", "0", *INTO).code == -signal.SIGKILL
    assert len(charged(shell)) == 1
    assert states(shell) == ["open", "open"]
    (shell.folder / "killing").unlink()
    done = retry(shell, "--after", "0", *INTO)
    assert (done.code, done.err) == (0, "")
    assert states(shell) == ["replayed", "replayed"]
    assert charged(shell) == ["A1", "A1", "A2"]


def test_one_that_cannot_be_is_told_and_holds_up_nobody(shell: Shell) -> None:
    first, second = (letter["id"] for letter in shell.letters())
    assert shell("dead-letters", "edit", shell.dead, first, "--event", '{"order": 1}').code == 0
    done = retry(shell, "--after", "0", *INTO)
    assert done.code == 1
    assert done.err.startswith(f"error: {first}: what charge was given can't be made again")
    assert done.out == f"{second}: replayed into charge, try 2 of 5\n"
    assert states(shell) == ["open", "replayed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--after", "soon"], "soon: a delay is seconds"),
        (["--after", "-1"], "a delay is seconds"),
        (["--attempts", "1"], "--attempts"),
        (["--jitter", "2"], "--jitter"),
        (["--to", "memory:x", *INTO], "--to and --into: one of them"),
        (["--into", "application:nothing"], "nothing"),
        (["--pipeline", "other", *INTO], "into is the pipeline 'billing'"),
    ],
)
def test_a_wrong_call_is_told(arguments: list[str], words: str, shell: Shell) -> None:
    done = retry(shell, *arguments)
    assert done.code == 2
    assert words in " ".join(done.err.split())
