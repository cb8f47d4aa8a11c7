"""``python -m reactor dead-letters replay --into MODULE:PIPELINE`` as a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_dead_letters_command import ROOT, Done, Shell

pytestmark = pytest.mark.timeout(240)

APPLICATION = """
import os
from pathlib import Path

import anyio
import msgspec
from reactor import DeadLetters, Pipeline, StoredLetter, topic


class Payment(msgspec.Struct):
    order: str
    amount: int


class Charge(msgspec.Struct):
    payment: Payment


payments = topic("sqlite:shop.db/payments", Payment)
charged = topic("sqlite:shop.db/charged", Charge)


def to_charge(payment: Payment) -> Charge:
    return Charge(payment)


def charge(charge: Charge) -> Charge:
    down = Path("down").read_text() if Path("down").exists() else ""
    if charge.payment.order in down:
        raise ValueError(f"{charge.payment.order}: declined [bold]")
    return charge


def check(charge: Charge) -> None:
    if Path("broken").exists():
        raise OSError("no room")


def billing() -> Pipeline:
    charges = payments.subscribe("billing", follow=False).map(to_charge)
    done = charges.map(charge, on_error=DeadLetters(), name="charge").tap(check)
    return Pipeline("billing", done.to(charged), dead_letters=topic("sqlite:shop.db/dead", StoredLetter))


pipeline = billing()
number = 5


async def main() -> None:
    await payments.publish([Payment(f"A{n}", n) for n in range(4)])
    await billing().run()


if __name__ == "__main__":
    anyio.run(main)
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shop in which the payments A1 to A3 were declined, by a program of its own."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "down").write_text("A1 A2 A3")
    subprocess.run(
        [sys.executable, "application.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=50,
    )
    return Shell(tmp_path)


def replay(shell: Shell, *arguments: str) -> Done:
    return shell("dead-letters", "replay", shell.dead, *arguments)


def show(shell: Shell, id: str) -> str:
    return " ".join(shell("dead-letters", "show", shell.dead, id).out.split())


@pytest.mark.parametrize("name", ["pipeline", "billing"])
def test_the_operator_that_failed_is_given_them_again(name: str, shell: Shell) -> None:
    ids = [letter["id"] for letter in shell.letters()]
    (shell.folder / "down").write_text("A2")
    done = shell("dead-letters", "replay", shell.dead, "--all", "--into", f"application:{name}")
    *_, last = shell.letters()
    assert done.code == 1
    assert done.out.splitlines() == [f"{ids[0]}: replayed into charge", f"{ids[2]}: replayed into charge"]
    assert done.err == f"{ids[1]}: failed again as {last['id']}\n"
    assert [letter["state"] for letter in shell.letters()] == ["replayed", "failed again", "replayed", "open"]
    assert len(shell.published()) == 4
    (shell.folder / "down").write_text("")
    again = shell("dead-letters", "replay", shell.dead, last["id"], "--into", f"application:{name}")
    assert (again.code, again.out) == (0, f"{last['id']}: replayed into charge\n")


def test_list_and_show_tell_of_it(shell: Shell) -> None:
    id = shell.letters()[1]["id"]
    for _ in range(2):
        replay(shell, id, "--into", "application:pipeline")
        *_, last = shell.letters()
        shown = show(shell, last["id"])
        assert f"replay of {id}" in shown
        assert "payments, position 2" in shown
        assert f"failed again as {last['id']}" in show(shell, id)
        id = last["id"]
    assert "reactor-attempt: 2" in shown
    states = [line.split("  ")[2] for line in shell("dead-letters", "list", shell.dead).out.splitlines()[1:]]
    assert states == ["open", "failed again", "open", "failed again, replay 1", "open, replay 2"]
    (shell.folder / "down").write_text("")
    replay(shell, id, "--into", "application:pipeline")
    assert "into charge, attempt 3" in show(shell, id)


def test_it_takes_an_event_in_place_of_what_the_operator_was_given(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    event = '{"payment": {"order": "B1", "amount": 7}}'
    assert replay(shell, id, "--event", event, "--into", "application:pipeline")[0] == 0
    assert shell.letters()[0]["actions"][0]["event"] == {"payment": {"order": "B1", "amount": 7}}


def test_a_run_that_fails_is_told_and_leaves_them_open(shell: Shell) -> None:
    (shell.folder / "down").write_text("")
    (shell.folder / "broken").write_text("")
    code, out, err = replay(shell, "--all", "--into", "application:pipeline")
    assert (code, out) == (1, "")
    assert "the replay failed with OSError: no room; in pipeline 'billing', operator tap(check), event" in err
    assert [letter["state"] for letter in shell.letters()] == ["open", "open", "open"]


def test_one_that_cannot_be_does_not_hold_up_the_others(shell: Shell) -> None:
    (shell.folder / "down").write_text("")
    first, second, third = (letter["id"] for letter in shell.letters())
    assert replay(shell, second)[0] == 0  # to its topic
    code, out, err = replay(shell, first, second, third, "--into", "application:pipeline")
    assert code == 1
    assert out.splitlines() == [f"{first}: replayed into charge", f"{third}: replayed into charge"]
    assert "was replayed to sqlite:shop.db/payments already" in err


WRONG = [
    ("application", "write MODULE:PIPELINE"),
    ("nothing:pipeline", "ModuleNotFoundError: No module named 'nothing'"),
    ("application:nothing", "has no attribute 'nothing'"),
    ("application:number", "is a int, and neither a Pipeline nor a function of one"),
    ("application:charge", "TypeError: charge() missing 1 required positional argument"),
]


def test_what_is_no_pipeline_is_told(shell: Shell) -> None:
    for place, words in WRONG:
        code, out, err = replay(shell, "--all", "--into", place)
        assert (code, out) == (2, ""), place
        assert words in err


def test_two_ways_at_once_are_refused(shell: Shell) -> None:
    code, _, err = replay(shell, "--all", "--into", "application:pipeline", "--to", "sqlite:shop.db/payments")
    assert (code, err) == (2, "error: --to and --into: one of them\n")
