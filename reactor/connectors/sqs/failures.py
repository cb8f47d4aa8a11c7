"""What goes wrong at SQS: what passes by itself, and what somebody has to mend."""

from __future__ import annotations

from typing import Any

from reactor.core import MissingExtra, TopicError

try:
    from aiohttp import ClientError as HttpError
    from botocore import exceptions as errors  # type: ignore[import-untyped]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
except ImportError:
    raise MissingExtra("SQS", "sqs") from None

FAILURES = (errors.BotoCoreError, errors.ClientError, HttpError, ResponseParserError, OSError, TimeoutError)
"""What a request may raise; ``judge`` says what it means."""

_PASSES = (
    errors.HTTPClientError,
    errors.ConnectionError,
    HttpError,
    ResponseParserError,
    OSError,
    TimeoutError,
)
"""The server is gone, or something between: waiting helps."""

_BUSY = frozenset(
    {
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "KmsThrottled",
        "KMS.ThrottlingException",
        "OverLimit",
        "AWS.SimpleQueueService.OverLimit",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "QueueDeletedRecently",
        "AWS.SimpleQueueService.QueueDeletedRecently",
    }
)
_GONE = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})
_STRANGERS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "MissingAuthenticationToken",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_CREDENTIALS = (
    errors.NoCredentialsError,
    errors.PartialCredentialsError,
    errors.CredentialRetrievalError,
    errors.ProfileNotFound,
    errors.TokenRetrievalError,
    errors.SSOError,
)


def busy(code: Any) -> bool:
    """Whether it is worth while to try that again a little later."""
    return code in _BUSY


class Gone(TopicError):
    """The queue isn't there."""


def judge(url: str, error: Exception) -> Exception:
    """Return the error where waiting may mend it, else the TopicError that says what to do."""
    passes: Exception = error
    if isinstance(error, errors.ClientError):
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code, said = told.get("Code", ""), told.get("Message", "")
        if code in _BUSY or status >= 500 or status == 429:
            return passes
        if code in _GONE:
            return Gone(f"{url}: there is no such queue; create it, or leave out create=false")
        if code in _STRANGERS or status in (401, 403):
            return TopicError(f"{url}: SQS refuses the credentials, or they don't allow this: {code}: {said}")
        return TopicError(f"{url}: {code}: {said}")
    if isinstance(error, _CREDENTIALS):
        return TopicError(
            f"{url}: no credentials: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "profile=, or run where a role gives them"
        )
    if isinstance(error, _PASSES):
        return passes
    return TopicError(f"{url}: {type(error).__name__}: {error}")
