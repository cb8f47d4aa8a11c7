"""Where a topic is, and its connections: commands out in one write, replies back in their order."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from reactor.connectors.brokers import Address, Backoff
from reactor.connectors.redis.settings import Redis
from reactor.core import MissingExtra, TopicCorrupt, TopicError

try:
    from redis import exceptions as errors
    from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
except ImportError:
    raise MissingExtra("Redis", "redis") from None

__all__ = ["Link", "Place", "errors"]

R = TypeVar("R")

_PASSES = (
    errors.ConnectionError,
    errors.TimeoutError,
    OSError,
    errors.ReadOnlyError,
    errors.TryAgainError,
    errors.ClusterDownError,
    errors.MasterDownError,
)
"""What a broker does that is gone, starting, or no longer the master: waiting helps."""

_GREETING = 5.0
"""Seconds for a connection to be made."""

# Telling the server the client's version means looking it up in files, on the event loop.
_ANONYMOUS: dict[str, Any] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)


class Place:
    """A stream's address and options."""

    def __init__(self, address: Address, settings: Redis) -> None:
        self.address = address
        self.settings = settings
        self.url = str(address)
        self.topic = address.path
        self.key = address.path.encode()

    def judge(self, error: Exception) -> Exception:
        """Return the error where waiting may mend it, else the TopicError that says what to do."""
        said = str(error)
        if isinstance(error, TopicError):
            return error
        if isinstance(error, errors.AuthenticationError | errors.AuthorizationError):
            return TopicError(f"{self.url}: the server refuses the user or password of the URL: {said}")
        if isinstance(error, errors.NoPermissionError):
            return TopicError(f"{self.url}: the user may not do that: {said}")
        if isinstance(error, _PASSES) or said.startswith(("MISCONF", "UNBLOCKED")):
            cause = error.__cause__ or error.__context__
            if isinstance(cause, ssl.SSLCertVerificationError):
                return TopicError(
                    f"{self.url}: {cause.verify_message}; name the authority to trust in tls_ca="
                )
            return error
        if isinstance(error, errors.MovedError | errors.AskError):
            return TopicError(
                f"{self.url}: this is a Redis Cluster, which isn't supported; use a single server"
            )
        if said.startswith("WRONGTYPE"):
            return TopicError(f"{self.url}: the key {self.topic!r} is no stream; name another topic")
        if said.startswith("NOGROUP"):
            return TopicCorrupt(
                f"{self.url}: the group is gone: somebody deleted the stream or the group, or the server doesn't "
                "keep its data over a restart (appendonly yes)"
            )
        if isinstance(error, errors.RedisError):
            return TopicError(f"{self.url}: {type(error).__name__}: {said}")
        return error

    def link(self) -> Link:
        return Link(self)

    def need_asyncio(self) -> None:
        """Raise TopicError on another loop: the client knows asyncio only."""
        try:
            asyncio.current_task()
        except RuntimeError:
            raise TopicError(f"{self.url}: Redis needs asyncio; run the pipeline there") from None


class Link:
    """One connection. What is cancelled, or fails while replies are due, ends it; the next call connects again."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._settings = settings = place.settings
        address = place.address
        self._backoff = Backoff(place.url)
        options: dict[str, Any] = {
            "host": address.host.strip("[]"),
            "port": address.port,
            "db": settings.db,
            "username": address.user or None,
            "password": address.password,
            "socket_timeout": None,
            "socket_connect_timeout": min(settings.timeout, _GREETING),
            "protocol": 2,
            **_ANONYMOUS,
        }
        self._connection: Connection
        if address.scheme == "rediss":
            self._connection = SSLConnection(
                **options,
                ssl_ca_certs=settings.tls_ca,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
                ssl_check_hostname=True,
            )
        else:
            self._connection = Connection(**options)

    @property
    def connected(self) -> bool:
        return bool(self._connection.is_connected)

    async def connect(self) -> None:
        """Connect where it isn't; one attempt."""
        if not self.connected:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    await self._connection.connect()  # type: ignore[no-untyped-call]
            except BaseException:
                await self.close()
                raise

    async def write(self, packed: Sequence[bytes]) -> None:
        """Send packed commands; ``replies`` is called next."""
        async with self._limit(0.0):
            await self._connection.send_packed_command(packed, check_health=False)

    async def replies(self, count: int, blocking: float = 0.0) -> list[Any]:
        """Return the next ``count`` replies, errors as such; the first may take ``blocking`` seconds longer."""
        found: list[Any] = []
        read = self._connection.read_response
        async with self._limit(blocking):
            for _ in range(count):
                try:
                    found.append(await read(disable_decoding=True))
                except errors.ResponseError as error:
                    found.append(error)
        return found

    async def ask(self, *commands: Sequence[Any], blocking: float = 0.0) -> list[Any]:
        """Run commands in one round trip, and return their replies; the first error is raised."""
        await self.connect()
        await self.write(self._connection.pack_commands(commands))
        found = await self.replies(len(commands), blocking)
        for reply in found:
            if isinstance(reply, Exception):
                if isinstance(reply, errors.ReadOnlyError) or str(reply).startswith("UNBLOCKED"):
                    await self.close()  # its server isn't the master any more
                raise reply
        return found

    async def insist(self, work: Callable[[], Awaitable[R]], patience: float | None = None) -> R:
        """Run ``work`` until the connection holds; raise TopicError for what waiting doesn't mend."""
        backoff = self._backoff if patience is None else Backoff(self._place.url, patience=patience)
        while True:
            try:
                result = await work()
            except Exception as error:
                judged = self._place.judge(error)
                if isinstance(judged, TopicError) or not isinstance(judged, errors.RedisError | OSError):
                    raise judged from (None if judged is error else error)
                await backoff.failed(judged)
            else:
                backoff.reached()
                return result

    async def close(self) -> None:
        """Disconnect at once; what was written and not sent yet is thrown away."""
        writer: asyncio.StreamWriter | None = getattr(self._connection, "_writer", None)
        if writer is not None:
            writer.transport.abort()  # an orderly end would wait for a server that takes nothing
        await self._connection.disconnect(nowait=True)
        if writer is not None:
            with anyio.CancelScope(shield=True):
                for _ in range(3):  # the loop lets go of the socket
                    await asyncio.sleep(0)

    def _limit(self, blocking: float) -> asyncio.Timeout:
        return asyncio.timeout(self._settings.timeout + blocking)
