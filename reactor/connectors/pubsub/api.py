"""What is taken from Google's clients: their channel, their credentials, and the messages inside of theirs.

Their own classes wrap each message once more, which costs more than all else. Only ``Service`` imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import google.auth as auth
from google.api_core import grpc_helpers_async
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import types

aio: Any = import_module("grpc.aio")  # it has no types

NoCredentials = GoogleAuthError
RpcError: Any = aio.AioRpcError

Message: Any = types.PubsubMessage.pb()
PublishRequest: Any = types.PublishRequest.pb()
PullRequest: Any = types.PullRequest.pb()
AcknowledgeRequest: Any = types.AcknowledgeRequest.pb()
ModifyAckDeadlineRequest: Any = types.ModifyAckDeadlineRequest.pb()
Topic: Any = types.Topic.pb()
GetTopicRequest: Any = types.GetTopicRequest.pb()
Subscription: Any = types.Subscription.pb()
GetSubscriptionRequest: Any = types.GetSubscriptionRequest.pb()
DeleteSubscriptionRequest: Any = types.DeleteSubscriptionRequest.pb()

ANSWERS: dict[str, Callable[[bytes], Any]] = {
    "Subscriber/Pull": types.PullResponse.pb().FromString,
    "Publisher/GetTopic": Topic.FromString,
    "Subscriber/GetSubscription": Subscription.FromString,
}
"""How the answer of a call is read, where there is something in it."""

_SCOPES = ("https://www.googleapis.com/auth/pubsub",)

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 4 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@cache
def _keep() -> None:
    """With its last channel gRPC would end its own thread, and wait for that on the loop: it is kept instead."""
    aio.init_grpc_aio()


def emulator(address: str) -> Any:
    """Return a channel to the emulator."""
    _keep()
    return aio.insecure_channel(address, options=_OPTIONS)


def channel(endpoint: str, credentials: Any) -> Any:
    """Return a channel to the service."""
    _keep()
    return grpc_helpers_async.create_channel(endpoint, credentials=credentials, options=_OPTIONS)


def credentials() -> Any:
    """Look for them, in files and at the machine's metadata server; NoCredentials."""
    found, _ = auth.default(scopes=_SCOPES)
    return found
