"""``python -m pipelines.orders``."""

import signal
import sys

if __name__ == "__main__":
    # Until the event loop takes the signals, ctrl-C ends without a traceback too: importing takes its time.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    from pipelines.orders.cli import app

    app(prog_name="python -m pipelines.orders")
