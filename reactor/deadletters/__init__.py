"""Dead letters that are stored in a topic: listed, repaired, replayed, discarded. Nothing is ever deleted."""

from reactor.deadletters.index import LetterAction, LetterState
from reactor.deadletters.into import NOTHING, Handing
from reactor.deadletters.letters import KeptLetter, Letters, dead_letters

__all__ = ["NOTHING", "Handing", "KeptLetter", "LetterAction", "LetterState", "Letters", "dead_letters"]
