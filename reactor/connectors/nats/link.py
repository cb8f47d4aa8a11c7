"""One connection to a server. It never comes back: where it is lost, another one is made (``line.py``)."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from reactor.connectors.brokers import Address
from reactor.connectors.nats.settings import Nats
from reactor.core import MissingExtra, TopicError

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error as ClientError
    from nats.errors import NoRespondersError, NoServersError
except ImportError:
    raise MissingExtra("NATS", "nats") from None

from reactor.connectors.nats import signing

_ANSWER = 5.0
"""Seconds in which the server has to answer."""
_GOODBYE = 2.0
"""Seconds that closing may take."""
_UNAVAILABLE = 503
_REFUSED = ("authorization violation", "authentication expired", "authentication revoked")


Leave = Callable[[], Awaitable[None]]


class Gone(Exception):
    """The connection is lost."""


class ApiError(Exception):
    """JetStream refuses a request; the codes are the server's own."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description

    @classmethod
    def of(cls, error: dict[str, Any]) -> ApiError:
        return cls(error.get("code", 0), error.get("err_code", 0), error.get("description", ""))


class _Client(Client):
    """The client, that doesn't tell a password to a server without TLS where TLS was asked for."""

    encrypted = False

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self.encrypted and initial_connection and not info.get("tls_required"):
            if not info.get("tls_available"):
                raise ssl.SSLError("the server has no TLS")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


class Link:
    """A connection. Whatever waits for it raises Gone once it is lost, or the TopicError that ends it."""

    def __init__(self, what: str, settings: Nats) -> None:
        self._what = what
        self._client = _Client()
        self._api = "$JS.API" if settings.domain is None else f"$JS.{settings.domain}.API"
        self._settings = settings
        self._waiting: set[anyio.CancelScope] = set()
        self.error: Exception | None = None
        """Why it is lost."""
        self._opened = False
        self._report: Exception | None = None
        """What went wrong with one of the servers, while it was opened."""

    @property
    def largest(self) -> int:
        """Bytes of the largest message, headers included."""
        return self._client.max_payload

    async def open(self, address: Address) -> None:
        """Connect; raise TopicError where the server refuses, Gone where it isn't there."""
        settings, client = self._settings, self._client
        client.encrypted = settings.encrypted
        try:
            options = await anyio.to_thread.run_sync(signing.options, address, settings)
        except (OSError, ValueError) as error:
            raise TopicError(f"{self._what}: {error}") from error
        try:
            with anyio.fail_after(_ANSWER * len(address.hosts)):
                await client.connect(
                    [f"nats://{host}:{port}" for host, port in address.hosts],
                    name=self._what,
                    error_cb=self._failed,
                    closed_cb=self._closed,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=2,
                    ping_interval=20,
                    inbox_prefix=settings.inbox,
                    **options,
                )
        except (OSError, ClientError, TimeoutError, ValueError, EOFError) as error:
            raise self._why(error) from error
        self._opened = True

    def _why(self, error: Exception) -> Exception:
        """Return what a failure to connect means."""
        if isinstance(error, NoServersError) and self._report is not None:
            error = self._report
        text = str(error) or type(error).__name__
        if any(each in text.lower() for each in _REFUSED):
            return TopicError(
                f"{self._what}: the server refuses who signs in: {text}; check user, password and credentials"
            )
        if isinstance(error, ssl.SSLError):
            return TopicError(f"{self._what}: TLS: {text}")
        return Gone(text)

    async def _failed(self, error: Exception) -> None:
        text = str(error)
        if not self._opened:
            self._report = error  # of one of the servers; another one may be there
        elif "permissions violation" in text.lower():
            self.fail(TopicError(f"{self._what}: the server doesn't permit it: {text}"))
        else:
            self.fail(Gone(text or type(error).__name__))

    async def _closed(self) -> None:
        error = self._client.last_error
        if error is not None and any(each in str(error).lower() for each in _REFUSED):
            self.fail(TopicError(f"{self._what}: the server refuses who signed in: {error}"))
        self.fail(Gone("closed by the server"))

    def fail(self, error: Exception) -> None:
        """It is lost, or is to count as such: whoever waits for it is told."""
        if self.error is None:
            self.error = error
            for scope in self._waiting:
                scope.cancel()

    @contextmanager
    def alive(self) -> Generator[None]:
        """Leave the block with what ended the connection, once it has ended."""
        if self.error is not None:
            raise self.error
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)
        # The client swallows a cancellation at times: the scope's own word isn't enough.
        if self.error is not None:
            raise self.error

    async def request(self, subject: str, data: bytes = b"") -> Msg:
        """Ask, and return the answer. Raises Gone also where nobody answers."""
        with self.alive():
            try:
                return await self._client.request(subject, data, timeout=_ANSWER)
            except NoRespondersError:
                self.fail(Gone(f"nobody answers to {subject}; is JetStream enabled (nats-server -js)?"))
            except (TimeoutError, ClientError) as error:
                self.fail(Gone(f"no answer to {subject}: {error}"))
        raise AssertionError  # alive() raises what fail() was given

    async def api(self, call: str, **arguments: object) -> dict[str, Any]:
        """Call JetStream's API; raise ApiError where it refuses."""
        data = msgspec.json.encode(arguments) if arguments else b""
        answer = await self.request(f"{self._api}.{call}", data)
        found: dict[str, Any] = msgspec.json.decode(answer.data)
        if "error" not in found:
            return found
        error = ApiError.of(found["error"])
        if error.code == _UNAVAILABLE:
            self.fail(Gone(str(error)))
            raise Gone(str(error))
        raise error

    async def write(self, commands: Iterable[bytes]) -> None:
        """Send commands of the protocol; wait where the server doesn't take them as fast as they come."""
        # All at once: the client's publish() costs more than all of the rest, message by message.
        with self.alive():
            await self._client._send_command(b"".join(commands))
            await self._client._flush_pending()

    async def ask(self, consumer: str, reply: str, **arguments: object) -> None:
        """Ask for the next messages of a consumer (``stream.name``)."""
        data = msgspec.json.encode(arguments)
        await self.write([publishing(f"{self._api}.CONSUMER.MSG.NEXT.{consumer}", data, reply)])

    def inbox(self) -> str:
        """Return a new subject for answers."""
        return self._client.new_inbox()

    async def subscribe(
        self, subject: str, each: Callable[[Msg], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """Have each message of a subject; what is returned ends that, once all that is under way has come."""
        with self.alive():
            found = await self._client.subscribe(
                subject, cb=each, pending_msgs_limit=0, pending_bytes_limit=0
            )
        return found.drain

    async def settled(self) -> None:
        """Return once the server has read all that was written."""
        with self.alive():
            try:
                await self._client.flush(timeout=int(_ANSWER))
            except ClientError as error:
                self.fail(Gone(f"no answer: {error}"))

    async def close(self) -> None:
        """Disconnect, within a few seconds."""
        self.fail(Gone("closed"))
        client = self._client
        with anyio.move_on_after(_GOODBYE, shield=True), suppress(Exception):
            await client.close()
        # Where closing fails in the middle, the client forgets the tasks of its subscriptions.
        for each in client._subs.values():
            each._stop_processing()
        # A connection that hangs would stay until all is sent that waits to be.
        writer = getattr(client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


def publishing(subject: str, data: bytes, reply: str = "") -> bytes:
    """Return the command that publishes data without headers."""
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(data), data)
