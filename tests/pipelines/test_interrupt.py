"""Ctrl-C before the event loop takes the signals."""

import subprocess
import sys

IN_A_CALLBACK = """
import runpy, signal, sys, weakref

class Thing:
    pass

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "pipelines.orders.cli":
            thing = Thing()
            reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
            del thing

sys.meta_path.insert(0, Finder())
sys.argv = ["orders", "--help"]
print("begun")
runpy.run_module("pipelines.orders", run_name="__main__", alter_sys=True)
"""


def test_it_is_not_lost_where_an_exception_would_be() -> None:
    """As in the callbacks of weak references, of which importing has many."""
    done = subprocess.run([sys.executable, "-c", IN_A_CALLBACK], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (130, "begun\n", "")
