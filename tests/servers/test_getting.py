"""What is downloaded is tried three times."""

from pathlib import Path

import pytest

from tests.servers import getting


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getting, "PAUSES", (0.01, 0.01))


def test_what_fails_twice_is_got(tmp_path: Path) -> None:
    command = "echo try >>tries; test $(wc -l <tries) -ge 3 && echo there"
    assert getting.get(["sh", "-c", command], cwd=tmp_path) == "there\n"


def test_what_fails_always_is_told(tmp_path: Path) -> None:
    with pytest.raises(getting.NotGot, match=r"^no such host"):
        getting.get(["sh", "-c", "echo try >>tries; echo no such host >&2; exit 4"], cwd=tmp_path)
    assert (tmp_path / "tries").read_text() == "try\n" * 3


def test_what_never_ends_is_told() -> None:
    with pytest.raises(getting.NotGot, match="timed out"):
        getting.get(["sleep", "20"], timeout=0.05)
