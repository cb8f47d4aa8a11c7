"""Topics at Redis: a topic is a stream, a group a consumer group. ``redis://localhost:6379/orders``."""

from __future__ import annotations

from reactor.connectors.redis.broker import RedisBroker
from reactor.connectors.redis.settings import Redis

__all__ = ["Redis", "RedisBroker"]
