"""What all brokers share: addresses, the wire format, a source that settles, a sink that confirms."""

from __future__ import annotations

from reactor.connectors.brokers.address import Address, Settings, configured, without_password
from reactor.connectors.brokers.broker import Broker, Capabilities
from reactor.connectors.brokers.columns import Columns
from reactor.connectors.brokers.consumer import Consumer, Delivery
from reactor.connectors.brokers.producer import Producer
from reactor.connectors.brokers.retry import Backoff
from reactor.connectors.brokers.sink import BrokerSink
from reactor.connectors.brokers.source import BrokerSource
from reactor.connectors.brokers.wire import Wire

__all__ = [
    "Address",
    "Backoff",
    "Broker",
    "BrokerSink",
    "BrokerSource",
    "Capabilities",
    "Columns",
    "Consumer",
    "Delivery",
    "Producer",
    "Settings",
    "Wire",
    "configured",
    "without_password",
]
