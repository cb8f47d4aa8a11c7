"""Brokers, files and stores of checkpoints, one folder or module each.

Brokers and files all have the same anatomy: a log, a source and a sink. They are loaded one by one, by the scheme
of a URL (``reactor/topics.py``), so their modules are the contract.
"""

from reactor.connectors.states import done, holder, is_gone, state_store

__all__ = ["done", "holder", "is_gone", "state_store"]
