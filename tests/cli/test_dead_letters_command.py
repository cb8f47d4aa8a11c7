"""``python -m reactor dead-letters`` as a process: what it prints, does, and ends with."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest

import reactor
from reactor import DeadLetters, Pipeline, StoredLetter, topic

ROOT = Path(reactor.__file__).parent.parent


class Payment(msgspec.Struct):
    order: str
    amount: int


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs the command in a folder with a shop's file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dead = "sqlite:shop.db/dead"

    def __call__(self, *arguments: str, path: Path | None = None, **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "reactor", *arguments],
            cwd=self.folder,
            env={
                **{name: text for name, text in os.environ.items() if name not in ("EDITOR", "VISUAL")},
                "PYTHONPATH": os.pathsep.join(map(str, [path, ROOT] if path else [ROOT])),
                "COLUMNS": "120",
                "NO_COLOR": "1",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=50,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def letters(self, *filters: str) -> list[Any]:
        done = self("dead-letters", "list", self.dead, "--json", *filters)
        assert done.code == 0, done.err
        return done.objects

    def published(self) -> list[Any]:
        async def read() -> list[Any]:
            return [
                record.value async for record in topic(f"sqlite:{self.folder}/shop.db/payments").records()
            ]

        return anyio.run(read)


def charge(payment: Payment) -> Payment:
    if payment.amount < 0:
        raise ValueError(f"{payment.order}: declined [bold]")
    return payment


def bill(folder: Path, *amounts: int) -> list[Payment]:
    """Publish payments, and handle all that there are."""
    charged: list[Payment] = []

    async def main() -> None:
        payments = topic(f"sqlite:{folder}/shop.db/payments", Payment)
        await payments.publish([Payment(f"A{n}", amount) for n, amount in enumerate(amounts)])
        stream = payments.subscribe("billing", follow=False)
        stream = stream.map(charge, on_error=DeadLetters(), name="charge")
        dead = topic(f"sqlite:{folder}/shop.db/dead", StoredLetter)
        await Pipeline("billing", stream.to(charged.append), dead_letters=dead).run()

    anyio.run(main)
    return charged


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    bill(tmp_path, 5, -1, -2, -3)
    return Shell(tmp_path)


def test_list_is_a_table_with_a_line_each(shell: Shell) -> None:
    done = shell("dead-letters", "list", shell.dead)
    assert done.code == 0
    head, *lines = done.out.splitlines()
    assert head.split() == ["id", "failed", "at", "state", "pipeline/operator", "event", "error"]
    ids = [letter["id"] for letter in shell.letters()]
    assert [line.split()[0] for line in lines] == [id[:8] for id in ids]
    assert '{"order":"A1","amount":-1}' in lines[0]
    assert "billing/charge" in lines[0]
    assert "ValueError: A1: declined [bold]" in lines[0]  # an error is no markup
    assert done.err == "3 dead letters\n"


def test_a_narrow_terminal_still_shows_ids_and_states(shell: Shell) -> None:
    for line, letter in zip(
        shell("dead-letters", "list", shell.dead, COLUMNS="60").out.splitlines()[1:],
        shell.letters(),
        strict=True,
    ):
        assert line.startswith(letter["id"][:8])
        assert "open" in line
        assert len(line) <= 60


def test_json_is_an_object_a_line(shell: Shell) -> None:
    first, *_ = shell.letters()
    assert first["state"] == "open"
    assert first["event"] == first["given"] == {"order": "A1", "amount": -1}
    assert (first["pipeline"], first["operator"], first["topic"], first["position"]) == (
        "billing", "charge", "payments", 1,
    )  # fmt: skip
    assert first["error"] == "ValueError: A1: declined [bold]"
    assert (first["earlier"], first["later"], first["actions"]) == (None, None, [])


def test_list_has_filters(shell: Shell) -> None:
    assert [letter["position"] for letter in shell.letters("--error", "A2")] == [2]
    assert len(shell.letters("--pipeline", "billing", "--operator", "charge", "--since", "1h")) == 3
    assert shell.letters("--operator", "other") == []
    assert shell.letters("--until", "2020-01-01T12:00") == []
    assert shell.letters("--state", "failed-again") == []
    assert len(shell.letters("--state", "open")) == 3
    empty = shell("dead-letters", "list", shell.dead, "--pipeline", "other")
    assert (empty.code, empty.out, empty.err) == (0, "", "0 dead letters\n")


def test_show_tells_all_of_one(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    done = shell("dead-letters", "show", shell.dead, id[:8])
    assert done.code == 0
    for text in (id, "billing/charge", "payments, position 1", '"order": "A1"', "Traceback", "in charge"):
        assert text in done.out
    (shown,) = shell("dead-letters", "show", shell.dead, id, "--json").objects
    assert shown["id"] == id


def test_replay_publishes_once_and_tells_where(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    for _ in range(2):
        done = shell("dead-letters", "replay", shell.dead, id[:8])
        assert done.code == 0, done.err
        assert done.out == f"{id}: replayed to sqlite:shop.db/payments, position 4\n"
    assert [payment["order"] for payment in shell.published()] == ["A0", "A1", "A2", "A3", "A1"]
    assert [letter["state"] for letter in shell.letters()] == ["replayed", "open", "open"]


def test_replay_all_takes_what_is_open_and_fits(shell: Shell) -> None:
    first, second, third = (letter["id"] for letter in shell.letters())
    assert shell("dead-letters", "discard", shell.dead, first).code == 0
    done = shell("dead-letters", "replay", shell.dead, "--all", "--error", "A2")
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [second]
    done = shell("dead-letters", "replay", shell.dead, "--all")
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [third]


def test_a_replay_that_fails_again_is_told_by_both_letters(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    shell("dead-letters", "replay", shell.dead, id)
    bill(shell.folder)
    first, *_, last = shell.letters()
    assert (first["state"], first["later"]) == ("failed again", last["id"])
    assert (last["state"], last["earlier"]) == ("open", id)
    done = shell("dead-letters", "replay", shell.dead, id, last["id"])
    assert done.code == 1
    assert f"has failed again as {last['id']}: replay that one" in done.err
    assert done.out.startswith(f"{last['id']}: replayed")  # one that can't be replayed doesn't hold up others
    assert f"as {last['id']}" in shell("dead-letters", "show", shell.dead, id).out
    assert id in shell("dead-letters", "show", shell.dead, last["id"]).out


def test_an_event_is_edited_on_the_command_line_and_replayed(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    done = shell("dead-letters", "edit", shell.dead, id, "--event", '{"order": "A1", "amount": 7}')
    assert (done.code, done.out) == (0, f"{id}: repaired; replay publishes it\n")
    assert len(shell.published()) == 4
    shell("dead-letters", "replay", shell.dead, id)
    assert bill(shell.folder) == [Payment("A1", 7)]


def test_replay_takes_an_event_and_a_topic(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    event = '{"order": "A1", "amount": 7}'
    done = shell(
        "dead-letters", "replay", shell.dead, id, "--event", event, "--to", "sqlite:other.db/payments"
    )
    assert done.out == f"{id}: replayed to sqlite:other.db/payments, position 0\n"
    assert len(shell.published()) == 4


@pytest.fixture
def editor(tmp_path: Path) -> Callable[[str], str]:
    """Make an editor of a Python expression of the text."""

    def make(body: str) -> str:
        path = tmp_path / "my editor"
        path.write_text(
            f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\npath = Path(sys.argv[1])\n"
            f"text = path.read_text()\n{body}\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return f"'{path}'"

    return make


def test_an_event_is_edited_in_the_editor(shell: Shell, editor: Callable[[str], str], tmp_path: Path) -> None:
    id = shell.letters()[0]["id"]
    change = editor("path.write_text(text.replace('-1', '70'))")
    done = shell("dead-letters", "edit", shell.dead, id, EDITOR=change, TMPDIR=str(tmp_path))
    assert done.code == 0, done.err
    assert shell.letters()[0]["event"] == {"order": "A1", "amount": 70}
    assert not list(tmp_path.glob("*.json"))


def test_an_editor_that_changes_nothing_stores_nothing(shell: Shell, editor: Callable[[str], str]) -> None:
    id = shell.letters()[0]["id"]
    done = shell("dead-letters", "edit", shell.dead, id, VISUAL=editor(""))
    assert (done.code, done.err) == (0, "nothing was changed\n")
    assert shell.letters()[0]["actions"] == []


@pytest.mark.parametrize(
    ("body", "words"),
    [("path.write_text('{\"order\"')", "isn't JSON"), ("path.write_text('7'); sys.exit(3)", "ended with 3")],
)
def test_a_text_that_cannot_be_stored_is_kept(
    body: str, words: str, shell: Shell, editor: Callable[[str], str], tmp_path: Path
) -> None:
    id = shell.letters()[0]["id"]
    done = shell("dead-letters", "edit", shell.dead, id, EDITOR=editor(body), TMPDIR=str(tmp_path))
    assert done.code == 1
    assert words in done.err
    assert "nothing was stored" in done.err
    (kept,) = tmp_path.glob("*.json")
    assert str(kept) in done.err
    assert shell.letters()[0]["actions"] == []


def test_discard_keeps_the_reason(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    done = shell("dead-letters", "discard", shell.dead, id, "--reason", "a test order")
    assert (done.code, done.out) == (0, f"{id}: discarded\n")
    first, *_ = shell.letters("--state", "discarded")
    assert first["actions"][0]["reason"] == "a test order"
    assert "a test order" in shell("dead-letters", "show", shell.dead, id).out


WRONG: dict[str, tuple[list[str], int, str]] = {
    "scheme": (["list", "carrier-pigeon:dead"], 2, "unknown scheme 'carrier-pigeon'; known schemes: sqlite:"),
    "no url": (["list", "dead"], 2, "has no scheme"),
    "no file": (["list", "sqlite:typo.db/dead"], 1, "there is no file"),
    "other topic": (["list", "sqlite:shop.db/payments"], 1, "isn't a topic of dead letters"),
    "id": (["show", "sqlite:shop.db/dead", "beef0000"], 2, "no dead letter 'beef0000'"),
    "id to replay": (["replay", "sqlite:shop.db/dead", "beef0000"], 2, "no dead letter 'beef0000'"),
    "id to discard": (["discard", "sqlite:shop.db/dead", "beef0000"], 2, "no dead letter 'beef0000'"),
    "id to edit": (["edit", "sqlite:shop.db/dead", "beef0000", "--event", "1"], 2, "no dead letter"),
    "nothing named": (["replay", "sqlite:shop.db/dead"], 2, "by their IDs, or say --all"),
    "both": (["discard", "sqlite:shop.db/dead", "beef", "--all"], 2, "by their IDs, or say --all"),
    "filters and ids": (["discard", "sqlite:shop.db/dead", "beef", "--error", "x"], 2, "go with --all"),
    "event and all": (["replay", "sqlite:shop.db/dead", "--all", "--event", "1"], 2, "goes with one ID"),
    "state": (["list", "sqlite:shop.db/dead", "--state", "odd"], 2, "the states are open"),
    "time": (["list", "sqlite:shop.db/dead", "--since", "soon"], 2, "neither a time"),
    "command": (["bury", "sqlite:shop.db/dead"], 2, "No such command"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_words_and_by_the_exit_code(case: str, shell: Shell) -> None:
    arguments, code, words = WRONG[case]
    done = shell("dead-letters", *arguments)
    assert (done.code, done.out) == (code, "")
    assert words in " ".join(done.err.replace("│", " ").split())
    assert not (shell.folder / "typo.db").exists()
    assert len(shell.published()) == 4


@pytest.mark.parametrize("command", ["edit", "replay"])
def test_an_event_that_is_no_json_is_refused(command: str, shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    done = shell("dead-letters", command, shell.dead, id, "--event", "{order")
    assert done.code == 2
    assert "--event: isn't JSON" in done.err
    assert len(shell.published()) == 4


def test_edit_without_an_editor_says_so(shell: Shell) -> None:
    id = shell.letters()[0]["id"]
    done = shell("dead-letters", "edit", shell.dead, id)
    assert (done.code, done.err) == (2, "error: $EDITOR isn't set; set it, or pass --event JSON\n")
    gone = shell("dead-letters", "edit", shell.dead, id, EDITOR="no-such-editor")
    assert gone.code == 2
    assert "no-such-editor" in gone.err


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(missing: str, shell: Shell, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / f"{missing}.py").write_text(
        f'raise ModuleNotFoundError("No module named {missing!r}", name={missing!r})'
    )
    done = shell("dead-letters", "list", shell.dead, path=absent)
    assert (done.code, done.out) == (2, "")
    assert done.err == 'error: python -m reactor needs an extra: pip install "reactor-streams[cli]"\n'


def test_help_names_the_commands(shell: Shell) -> None:
    done = shell("dead-letters", "--help")
    assert done.code == 0
    assert all(name in done.out for name in ("list", "show", "edit", "replay", "discard"))
    assert "dead-letters" in shell("--help").out
