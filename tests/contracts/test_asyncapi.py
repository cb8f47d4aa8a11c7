"""What is exported is an AsyncAPI document by AsyncAPI's own JSON Schema."""

import copy
import json
from typing import Any

import jsonschema
import pytest

from reactor import topic
from reactor.contracts import Channel, as_json, asyncapi, contract_of
from tests.contracts import official
from tests.contracts.rich import Rich
from tests.contracts.shops import OrderSettled
from tests.servers.server import Missing, require


@pytest.fixture(scope="module")
def validator() -> Any:
    try:
        return jsonschema.Draft7Validator(official.schema())
    except Missing as missing:
        require(missing)


def test_a_document_is_valid(validator: Any) -> None:
    topics: list[Channel] = [
        topic("sqlite:shop.db/orders", OrderSettled),
        topic("memory:a bit of everything", Rich, OrderSettled),
    ]
    contracts = [contract_of(Rich), contract_of(OrderSettled)]
    document = json.loads(
        as_json(asyncapi("shop", topics, actions={"orders": ["send", "receive"]}, contracts=contracts))
    )
    assert [error.message for error in validator.iter_errors(document)] == []
    # It would say so: each of these is wrong in one place.
    for spoil in _SPOILS:
        wrong = copy.deepcopy(document)
        spoil(wrong)
        assert [*validator.iter_errors(wrong)], spoil


def _misplaced(document: Any) -> None:
    next(iter(document["channels"].values()))["bogus"] = 1


def _without_title(document: Any) -> None:
    del document["info"]["title"]


def _other_action(document: Any) -> None:
    next(iter(document["operations"].values()))["action"] = "shout"


_SPOILS = (_misplaced, _without_title, _other_action)
