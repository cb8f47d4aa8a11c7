"""NATS JetStream: a topic is a stream, a group a durable pull consumer.

``topic("nats://localhost:4222/orders", OrderPlaced)``; options by the URL's query, or ``config=Nats(...)``.
"""

from __future__ import annotations

from reactor.connectors.nats.broker import NatsBroker
from reactor.connectors.nats.settings import Nats

__all__ = ["Nats", "NatsBroker"]
