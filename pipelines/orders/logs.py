"""Where reactor's log goes: to a file in HOME, so that a traceback is there for who looks for it."""

from __future__ import annotations

import logging

from pipelines.orders.home import Home


def log_to(home: Home) -> None:
    """Append reactor's log to ``HOME/shop.log``."""
    handler = logging.FileHandler(home.path / "shop.log", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("reactor")
    logger.addHandler(handler)
    logger.propagate = False
