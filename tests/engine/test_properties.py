"""The engine against the reference interpreter, on random graphs."""

import pytest
from hypothesis import given

from tests.engine.graphs import LINEAR, Plan, World, examples, plans

pytestmark = pytest.mark.anyio


def same_as_interpreted(world: World) -> None:
    """Everything that arrives is what the reference interpreter says."""
    outcome = world.outcome()
    assert world.error is None
    assert world.state == "complete"
    for seen, arrived in zip(world.seen, outcome.ends, strict=True):
        if seen.counted:
            assert arrived.matches(seen.events), f"{seen.events} is not {arrived.lanes}"
    world.check_closed()


@examples()
@given(plan=plans(LINEAR))
async def test_a_chain_of_operators_gives_what_the_interpreter_says(plan: Plan) -> None:
    world = World(plan)
    await world.execute()
    same_as_interpreted(world)
