"""RabbitMQ: a topic is an exchange, each group a queue that is bound to it, or all of them read a stream.

docs/brokers/rabbitmq.md
"""

from __future__ import annotations

from reactor.connectors.rabbitmq.broker import RabbitMQBroker
from reactor.connectors.rabbitmq.settings import RabbitMQ

__all__ = ["RabbitMQ", "RabbitMQBroker"]
