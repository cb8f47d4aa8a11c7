"""The suite as a whole."""

from __future__ import annotations

from reactor.testing.conformance.arriving import Arriving
from reactor.testing.conformance.failing import Failing
from reactor.testing.conformance.groups import Groups
from reactor.testing.conformance.guarding import Guarding
from reactor.testing.conformance.poison import Poison
from reactor.testing.conformance.remembering import Remembering
from reactor.testing.conformance.settling import Settling


class BrokerSuite(Arriving, Groups, Settling, Poison, Remembering, Failing, Guarding):
    """What every connector has to do: subclass it and give ``make``.

    Where the broker can be restarted or stopped for a while, say so (``restartable``, ``pausable``) and give
    ``restart``, ``pause`` and ``go_on``.
    """
