"""A conformance suite for connectors: subclass ``BrokerSuite``, and say how a topic is made.

::

    @pytest.mark.anyio
    class TestMine(BrokerSuite):
        def make(self, name, *types):
            return topic(f"mine://localhost:1234/{name}", *types)

Its methods are plain coroutines, for a runner that takes such (``pytest.mark.anyio`` over the class). What a
broker can't do stands in the ``Capabilities`` of its connector: the suite demands what is declared, and that the
rest is refused.
"""

from __future__ import annotations

from reactor.testing.conformance.ground import Paid, Placed, Reader, Stranger
from reactor.testing.conformance.suite import BrokerSuite

__all__ = ["BrokerSuite", "Paid", "Placed", "Reader", "Stranger"]
