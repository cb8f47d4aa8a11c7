"""Dead letters that are stored in a topic: listed, repaired, replayed, retried, discarded. Nothing is deleted."""

from reactor.deadletters.index import LetterAction, LetterState
from reactor.deadletters.into import NOTHING, Handing
from reactor.deadletters.letters import KeptLetter, Letters, dead_letters
from reactor.deadletters.retrying import Retrying

__all__ = [
    "NOTHING",
    "Handing",
    "KeptLetter",
    "LetterAction",
    "LetterState",
    "Letters",
    "Retrying",
    "dead_letters",
]
