"""``python -m pipelines.orders``."""

import os
import signal
import sys
from types import FrameType


def interrupted(number: int, frame: FrameType | None) -> None:
    """End at once: an exception may come at a moment at which it is only told of, and lost."""
    try:
        sys.stdout.flush()
    except Exception:  # who reads it is gone, or it is being written to just now
        pass
    os._exit(130)


if __name__ == "__main__":
    # Until the event loop takes the signals, ctrl-C ends without a traceback too: importing takes its time.
    signal.signal(signal.SIGINT, interrupted)
    from pipelines.orders.cli import app

    app(prog_name="python -m pipelines.orders")
