"""What happens on failure: timeout, retry, dead letters."""

from reactor.delivery.dead_letter import DeadLetter, StoredLetter
from reactor.delivery.policies import DeadLetters, Fail, Fallback, OnError, Retry, Skip

__all__ = ["DeadLetter", "DeadLetters", "Fail", "Fallback", "OnError", "Retry", "Skip", "StoredLetter"]
