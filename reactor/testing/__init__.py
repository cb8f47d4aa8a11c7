"""What tests of pipelines need: the reference interpreter, which says what a run has to come to."""

from reactor.testing.interpreter import interpret
from reactor.testing.outcome import Arrived, Failure, Letter, Outcome, Undetermined

__all__ = ["Arrived", "Failure", "Letter", "Outcome", "Undetermined", "interpret"]
