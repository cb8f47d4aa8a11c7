"""The options of Kafka, and what librdkafka makes of them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reactor.connectors.brokers import Address, Settings
from reactor.core import ArgumentError


class Kafka(Settings, frozen=True, kw_only=True):
    """Durations are seconds, sizes are bytes. ``sasl_*`` and ``ssl_*`` are as Kafka's clients have them."""

    create: bool = True
    """Make the topic where it is missing."""
    partitions: int | None = None
    """Of a topic that is made; None: as the broker does it."""
    replication: int | None = None
    """Of a topic that is made; None: as the broker does it."""
    patience: float = 10.0
    """How long ``open`` waits for a broker that can't be reached."""
    client: str = "reactor"
    """How the broker's logs and quotas call this client."""

    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] | None = None
    """None: sasl_ssl where the URL or ``sasl_username`` names a user, else plaintext."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] = "PLAIN"
    sasl_username: str = ""
    """The same as the URL's user."""
    sasl_password: str = ""
    ssl_ca_location: str = ""
    """File of the authorities that are trusted; empty: the system's."""
    ssl_certificate_location: str = ""
    ssl_key_location: str = ""
    ssl_key_password: str = ""

    acks: Literal["all", "1", "0"] = "all"
    """Who has to have a message before it counts; anything but "all" may lose some, and repeat some."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    linger: float = 0.005
    """How long a message may wait for others to go with it."""
    in_flight: int = 100_000
    """So many messages may be on their way; a write waits then."""
    in_flight_bytes: int = 64 << 20
    largest: int = 1_000_000
    """Bytes of a message with key and headers; a topic's own limit counts where it is lower."""

    prefetch: int = 10_000
    """Messages that are kept ready for the pipeline; about as many are in librdkafka, up to its bytes."""
    prefetch_bytes: int = 16 << 20
    session_timeout: float = 45.0
    """A group goes on without a member that wasn't heard of for so long."""
    revoke_patience: float = 10.0
    """How long a partition that goes to another member may be held until what is in flight is settled."""
    discover: float = 30.0
    """New partitions, and new topics of a pattern, are looked for so often."""
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    gap: Literal["fail", "earliest"] = "fail"
    """Where the next message isn't kept any more: fail, or go on with the earliest that is."""

    transactions: bool = False
    """The sink can be exactly once: what it writes is staged, and published by transactions."""
    staging: str = "__reactor-staging"
    """How the names of the topics begin in which it is staged: one for each sink of each pipeline."""

    librdkafka: dict[str, Any] = msgspec.field(default_factory=dict)
    """Any of librdkafka's own settings, above these."""

    def __repr__(self) -> str:
        secret = ("sasl_password", "ssl_key_password", "librdkafka")
        default = Kafka()
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        said = [
            f"{name}={'***' if name in secret else repr(value)}"
            for name, value in shown.items()
            if value != getattr(default, name)
        ]
        return f"Kafka({', '.join(said)})"


def checked(url: str, settings: Kafka) -> Kafka:
    """Return the settings, or raise ArgumentError for one that can't be."""
    for name in ("partitions", "replication"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ArgumentError(f"topic({url!r}): {name}={value}: must be >= 1")
    for name in ("in_flight", "in_flight_bytes", "largest", "prefetch", "prefetch_bytes"):
        if getattr(settings, name) < 1:
            raise ArgumentError(f"topic({url!r}): {name}={getattr(settings, name)}: must be >= 1")
    for name in ("patience", "linger", "revoke_patience"):
        if not 0 <= getattr(settings, name) < 1e6:
            raise ArgumentError(f"topic({url!r}): {name}={getattr(settings, name)}: seconds >= 0")
    for name in ("session_timeout", "discover"):
        if not 0 < getattr(settings, name) < 1e6:
            raise ArgumentError(f"topic({url!r}): {name}={getattr(settings, name)}: seconds > 0")
    if settings.transactions and settings.acks != "all":
        raise ArgumentError(f"topic({url!r}): transactions=true needs acks=all")
    return settings


def common(address: Address, settings: Kafka) -> dict[str, Any]:
    """Return what every client needs to reach the brokers."""
    user = address.user or settings.sasl_username
    password = address.password if address.password is not None else settings.sasl_password
    protocol = settings.security_protocol or ("sasl_ssl" if user else "plaintext")
    found: dict[str, Any] = {
        "bootstrap.servers": address.servers,
        "client.id": settings.client,
        "log_level": 2,  # what fails is told by error_cb, once for each outage
        "security.protocol": protocol,
        "reconnect.backoff.max.ms": 2000,
        "socket.keepalive.enable": True,
        "topic.metadata.refresh.interval.ms": _ms(settings.discover),
    }
    if protocol.startswith("sasl"):
        found["sasl.mechanism"] = settings.sasl_mechanism
        if user:
            found |= {"sasl.username": user, "sasl.password": password}
    files = {
        "ssl.ca.location": settings.ssl_ca_location,
        "ssl.certificate.location": settings.ssl_certificate_location,
        "ssl.key.location": settings.ssl_key_location,
        "ssl.key.password": settings.ssl_key_password,
    }
    return found | {name: value for name, value in files.items() if value}


def consuming(address: Address, settings: Kafka, group: str) -> dict[str, Any]:
    """Return librdkafka's settings of a consumer."""
    return {
        **common(address, settings),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error" if settings.gap == "fail" else "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "isolation.level": settings.isolation,
        "session.timeout.ms": _ms(settings.session_timeout),
        "heartbeat.interval.ms": min(1000, _ms(settings.session_timeout / 3)),
        "queued.max.messages.kbytes": max(1, settings.prefetch_bytes >> 10),
        "queued.min.messages": settings.prefetch,
        "fetch.queue.backoff.ms": 5,  # else it waits a second where as much is there as is wanted
        **settings.librdkafka,
    }


def producing(address: Address, settings: Kafka) -> dict[str, Any]:
    """Return librdkafka's settings of a producer. A message waits as long as it takes: nothing is given up."""
    return {
        **common(address, settings),
        "acks": settings.acks,
        "enable.idempotence": settings.acks == "all",
        "compression.type": settings.compression,
        "linger.ms": settings.linger * 1000,
        "queue.buffering.max.messages": settings.in_flight,
        "queue.buffering.max.kbytes": max(1, settings.in_flight_bytes >> 10),
        "message.max.bytes": max(1000, settings.largest),
        "message.timeout.ms": 0,
        "delivery.report.only.error": True,
        **settings.librdkafka,
    }


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
