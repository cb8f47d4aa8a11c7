"""What goes wrong with a connection, and what it means."""

from __future__ import annotations

import re
import ssl

from reactor.core import MissingExtra

try:
    from aiormq import exceptions
    from pamqp import commands
    from pamqp.exceptions import PAMQPException
except ImportError:
    raise MissingExtra("RabbitMQ", "rabbitmq") from None


class Lost(Exception):
    """The connection is gone; what was going on isn't known."""


class ConnectionLost(Exception):
    """What the log says of it."""


class Unrouted(Exception):
    """What is published has come back, though there has to be a queue for it."""


FAILURES = (Lost, exceptions.AMQPError, PAMQPException, OSError, EOFError, TimeoutError, RuntimeError)
"""What is raised where the connection or the channel is gone, or the server doesn't want it."""

_FOREVER = (
    exceptions.AuthenticationError,
    exceptions.ProbableAuthenticationError,
    exceptions.IncompatibleProtocolError,
    exceptions.ConnectionNotAllowed,
    exceptions.ChannelAccessRefused,
    exceptions.ChannelPreconditionFailed,
    exceptions.ChannelLockedResource,
    exceptions.ChannelNotFoundEntity,
    ssl.SSLCertVerificationError,
)
_LARGEST = re.compile(r"max size (\d+)")
_REFUSED = (402, 403, 530)


def is_forever(error: BaseException) -> bool:
    """Whether another attempt would end in the same way."""
    close = next((arg for arg in error.args if isinstance(arg, commands.Connection.Close)), None)
    if close is not None:
        return close.reply_code in _REFUSED
    return isinstance(error, _FOREVER)


def is_refusal(error: BaseException) -> bool:
    """Whether a channel was closed as the server doesn't take what was published on it."""
    return is_denial(error) or isinstance(error, exceptions.ChannelPreconditionFailed)


def is_denial(error: BaseException) -> bool:
    """Whether a channel was closed as the user hasn't the right."""
    return isinstance(error, exceptions.ChannelAccessRefused)


def is_missing(error: BaseException) -> bool:
    """Whether a channel was closed as an exchange isn't there."""
    return isinstance(error, exceptions.ChannelNotFoundEntity)


def largest_of(error: BaseException, sent: int) -> int | None:
    """Return how large a message may be, where a channel was closed as one is larger; ``sent`` is the largest."""
    text = told(error)
    if not isinstance(error, exceptions.ChannelPreconditionFailed) or "message size" not in text:
        return None
    found = _LARGEST.search(text)
    return int(found[1]) if found else sent - 1


def told(error: BaseException) -> str:
    """Return what went wrong, in the server's words where it has some."""
    for arg in error.args:
        if isinstance(arg, commands.Connection.Close | commands.Channel.Close):
            return f"{arg.reply_text} ({arg.reply_code})"
    text = ", ".join(str(arg) for arg in error.args if arg is not None)
    return text or type(error).__name__
