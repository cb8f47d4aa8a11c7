"""Google Cloud Pub/Sub, by its asynchronous gRPC clients: ``pubsub://PROJECT/TOPIC?option=...``."""

from __future__ import annotations

from reactor.connectors.pubsub.broker import PubSubBroker
from reactor.connectors.pubsub.settings import PubSub

__all__ = ["PubSub", "PubSubBroker"]
