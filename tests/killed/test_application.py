"""The orders application, killed at random moments and started again: the same report, the same figures."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.orders.cli import DECEMBER
from pipelines.orders.findings import Findings, load
from tests.killed import killing
from tests.killed.killing import ROOT, running

pytestmark = pytest.mark.timeout(1800 if killing.LONG else 180)

KILLS = int(killing.LONG) if killing.LONG else 5
ROWS = 4000 if killing.LONG else 800


class Run:
    """``python -m pipelines.orders run`` in a process."""

    def __init__(self, orders: Path, home: Path) -> None:
        self.report = home / "report.json"
        self._said = home / "said"
        home.mkdir(exist_ok=True)
        command = ["run", "--orders", orders, "--home", home, "--report", self.report]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.orders", *map(str, command)],
                cwd=ROOT,
                env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        running.append(self)

    def begins(self) -> None:
        """Return when it has begun to work."""
        while "surveying" not in self.said() and self.process.poll() is None:
            time.sleep(0.001)

    def said(self) -> str:
        return self._said.read_text("utf-8")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def reports(self) -> Any:
        assert self.process.wait(killing.PATIENCE) == 0, self.said()
        return json.loads(self.report.read_text())


def figures(home: Path) -> Findings:
    return load(home / "analytics.json")


def test_it_ends_with_the_same_report(tmp_path: Path) -> None:
    orders = tmp_path / "orders.csv.gz"
    lines = gzip.decompress(DECEMBER.read_bytes()).splitlines(keepends=True)
    orders.write_bytes(gzip.compress(b"".join(lines[: ROWS + 1]), 1))
    whole = tmp_path / "whole"
    began = time.monotonic()
    due = Run(orders, whole).reports()
    length = time.monotonic() - began
    dice = random.Random("application")
    ended = Counter[str]()
    homes = 0
    while ended["killed"] < KILLS:
        homes += 1
        home = tmp_path / f"home{homes}"
        while True:
            run = Run(orders, home)
            if ended["killed"] < KILLS:
                if dice.random() < 0.8:
                    run.begins()
                # Shorter and longer than what is left to do: some kills hit the last steps.
                pause = dice.random() * length * 0.6
                try:
                    run.process.wait(pause)
                except subprocess.TimeoutExpired:
                    run.kill()
            if run.process.poll() == -signal.SIGKILL:
                ended["killed"] += 1
                continue
            assert run.reports() == due
            assert figures(home) == figures(whole)
            ended["by itself"] += 1
            break
        verified = subprocess.run(
            [sys.executable, "-m", "pipelines.orders", "verify", "--home", str(home)],
            cwd=ROOT,
            capture_output=True,
            timeout=killing.PATIENCE,
        )
        assert verified.returncode == 0, verified.stderr
    print(f"\n{dict(ended)} in {homes} homes; a run to the end takes {length:.1f} s")
