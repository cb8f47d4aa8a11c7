"""Topics at Amazon SQS: a topic is a queue, and all groups of it share its messages."""

from __future__ import annotations

from reactor.connectors.sqs.broker import SqsBroker
from reactor.connectors.sqs.settings import Sqs

__all__ = ["Sqs", "SqsBroker"]
