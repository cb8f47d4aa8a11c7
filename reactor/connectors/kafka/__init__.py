"""Apache Kafka, by confluent-kafka: ``kafka://host:port[,host:port]/topic?option=...``."""

from __future__ import annotations

from reactor.connectors.kafka.broker import KafkaBroker
from reactor.connectors.kafka.settings import Kafka

__all__ = ["Kafka", "KafkaBroker"]
