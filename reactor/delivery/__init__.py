"""What happens on failure: timeout, retry, dead letters, checkpoints."""

from reactor.delivery.breaker import CircuitBreaker
from reactor.delivery.checkpoint import (
    Change,
    Checkpoint,
    Checkpoints,
    CheckpointStore,
    Guarantee,
    Owner,
    Pair,
    Savepoint,
)
from reactor.delivery.dead_letter import (
    ATTEMPT,
    LETTER,
    DeadLetter,
    Replayed,
    StoredLetter,
    StoredRecord,
    replayed,
)
from reactor.delivery.kind import Kind
from reactor.delivery.packing import Packing
from reactor.delivery.policies import DeadLetters, Fail, Fallback, Limit, OnError, Restart, Retry, Skip

__all__ = [
    "ATTEMPT",
    "LETTER",
    "CircuitBreaker",
    "Change",
    "Checkpoint",
    "CheckpointStore",
    "Checkpoints",
    "DeadLetter",
    "DeadLetters",
    "Fail",
    "Fallback",
    "Guarantee",
    "Kind",
    "Limit",
    "OnError",
    "Owner",
    "Packing",
    "Pair",
    "Replayed",
    "Restart",
    "Retry",
    "Savepoint",
    "Skip",
    "StoredLetter",
    "StoredRecord",
    "replayed",
]
