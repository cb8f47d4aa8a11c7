"""SIGINT and SIGTERM to a process that runs a pipeline: the first drains, a second one cancels."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HEAD = """
import anyio, sys, logging
import reactor
from reactor import Inlet, Pipeline, Sink, Stream, Cancelled

logging.basicConfig(level="INFO", format="log: %(message)s", stream=sys.stdout)

def say(text):
    print(text, flush=True)

class Telling(Sink):
    def __init__(self, stuck=False):
        self.stuck = stuck
    async def write(self, events):
        for event in events:
            say(f"got {event}")
        if self.stuck:
            await anyio.sleep_forever()
    async def close(self):
        say("closed")

async def endless():
    for n in range(10**9):
        yield n
        await anyio.sleep(3600 if n == 2 else 0)
"""


@contextmanager
def process(script: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", HEAD + textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def read_until(child: subprocess.Popen[str], wanted: str) -> list[str]:
    assert child.stdout is not None
    lines: list[str] = []
    for line in child.stdout:
        lines.append(line.rstrip())
        if wanted in line:
            return lines
    pytest.fail(f"{wanted!r} never came: {lines}")


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "trio"])
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@LOOPS
@SIGNALS
def test_the_first_signal_drains(loop: str, number: signal.Signals) -> None:
    script = f"""
        async def main():
            run = await Pipeline("shop", Stream(endless).to(Telling())).run()
            say(f"state {{run.state}}")
        anyio.run(main, backend="{loop}")
        say("the end")
    """
    with process(script) as child:
        read_until(child, "got 2")
        child.send_signal(number)
        rest = read_until(child, "the end")
        assert child.wait(10) == 0
    assert f"log: pipeline 'shop' drains: {number.name}" in rest
    assert rest[-3:] == ["closed", "state complete", "the end"]


@LOOPS
@SIGNALS
def test_a_second_signal_cancels(loop: str, number: signal.Signals) -> None:
    script = f"""
        async def main():
            try:
                await Pipeline("shop", Stream(endless).to(Telling(stuck=True))).run()
            except Cancelled as error:
                say(f"cancelled: {{error}}")
        anyio.run(main, backend="{loop}")
        say("the end")
    """
    with process(script) as child:
        read_until(child, "got 0")
        child.send_signal(number)
        read_until(child, "drains")
        child.send_signal(number)
        rest = read_until(child, "the end")
        assert child.wait(10) == 0
    assert "closed" in rest
    (cancelled,) = [line for line in rest if line.startswith("cancelled")]
    assert "pipeline 'shop' was cancelled" in cancelled
    assert "in flight" in cancelled


@LOOPS
def test_the_deadline_of_the_drain_holds_for_a_signal(loop: str) -> None:
    script = f"""
        async def main():
            try:
                await Pipeline("shop", Stream(endless).to(Telling(stuck=True))).run(drain=0.05)
            except reactor.DrainTimeout as error:
                say(f"timeout: {{error}}")
        anyio.run(main, backend="{loop}")
        say("the end")
    """
    with process(script) as child:
        read_until(child, "got 0")
        child.send_signal(signal.SIGTERM)
        rest = read_until(child, "the end")
    assert any(
        "timeout: pipeline 'shop' was cancelled: draining took more than 0.05 s" in line for line in rest
    )


@LOOPS
def test_a_signal_drains_all_pipelines_that_run_together(loop: str) -> None:
    script = f"""
        async def main():
            runs = await reactor.run(
                Pipeline("a", Stream(endless).to(Telling())), Pipeline("b", Stream(endless).to(Telling())))
            say(f"states {{[run.state for run in runs]}}")
        anyio.run(main, backend="{loop}")
        say("the end")
    """
    with process(script) as child:
        read_until(child, "got 2")
        read_until(child, "got 2")
        child.send_signal(signal.SIGINT)
        rest = read_until(child, "the end")
        assert child.wait(10) == 0
    assert "states ['complete', 'complete']" in rest


@LOOPS
def test_a_second_signal_to_several_cancels_all(loop: str) -> None:
    script = f"""
        async def main():
            try:
                await reactor.run(
                    Pipeline("a", Stream(endless).to(Telling(stuck=True))),
                    Pipeline("b", Stream(endless).to(Telling(stuck=True))))
            except* Cancelled as group:
                say(f"cancelled {{len(group.exceptions)}}")
        anyio.run(main, backend="{loop}")
        say("the end")
    """
    with process(script) as child:
        read_until(child, "got 0")
        read_until(child, "got 0")
        child.send_signal(signal.SIGINT)
        read_until(child, "drains")
        read_until(child, "drains")
        child.send_signal(signal.SIGINT)
        rest = read_until(child, "the end")
    assert "cancelled 2" in rest


@LOOPS
def test_beside_a_host_a_signal_stays_the_hosts(loop: str) -> None:
    script = f"""
        async def main():
            async with Pipeline("shop", Stream(endless).to(Telling())).start() as run:
                await anyio.sleep_forever()
        try:
            anyio.run(main, backend="{loop}")
        except* KeyboardInterrupt:
            say("interrupted")
    """
    with process(script) as child:
        read_until(child, "got 2")
        child.send_signal(signal.SIGINT)
        rest = read_until(child, "interrupted")
    assert "closed" in rest
    assert not any("drains" in line for line in rest)


@LOOPS
def test_in_another_thread_run_leaves_signals_alone(loop: str) -> None:
    script = f"""
        import threading
        async def main():
            run = await Pipeline("shop", Stream([1]).to(Telling())).run()
            say(f"state {{run.state}}")
        thread = threading.Thread(target=lambda: anyio.run(main, backend="{loop}"))
        thread.start(); thread.join()
        say("the end")
    """
    with process(script) as child:
        rest = read_until(child, "the end")
    assert rest == ["got 1", "closed", "state complete", "the end"]
