"""The suite finds what is wrong with a connector: for each of its tests, a fault that makes that test fail."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic
from tests.brokers.local.pond import PORT, Pond, PondBroker, topic_at

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One is enough: what is tested here is the suite."""
    return "asyncio"


class OnPond(BrokerSuite):
    """The suite over the little broker."""

    restartable = True
    pausable = True
    quiet = 0.1
    many = 1_000

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        return self.at(f"pond://here:{PORT}/{name}", *types)

    def at(self, url: str, *types: type[Any]) -> Topic[Any]:
        return topic_at(url, *types)

    async def restart(self) -> None:
        PondBroker.pond.restart()

    async def pause(self) -> None:
        PondBroker.pond.paused = True

    async def go_on(self) -> None:
        PondBroker.pond.paused = False


@pytest.fixture(autouse=True)
def pond(monkeypatch: pytest.MonkeyPatch) -> Pond:
    one = Pond()
    monkeypatch.setattr(PondBroker, "pond", one)
    return one


class TestWithoutFault(OnPond):
    pass


FAULTS = {
    "events_come_back_as_they_were": "forgets headers",
    "an_older_version_is_brought_on_and_a_newer_one_is_told": "forgets headers",
    "a_topic_without_types_carries_plain_values": "knows ASCII only",
    "only_the_types_asked_for_are_returned": "settles nothing",
    "a_large_chunk_arrives_whole": "drops one of ten",
    "order_over_many_publishes": "turns chunks round",
    "order_through_a_pipeline": "turns chunks round",
    "several_publish_at_once": "drops one of ten",
    "flush_means_stored": "confirms what it holds",
    "an_event_whose_id_is_there_already": "stores an id again",
    "headers_bring_no_others_in": "passes headers on as lines",
    "headers_of_the_wire_are_not_the_events_own": "takes any prefix for its own",
    "what_the_topic_does_not_carry_is_refused_before_anything_is_sent": "carries anything",
    "each_group_gets_all_events_or_they_share_them": "one group for all",
    "a_new_group_gets_what_was_there_before_it": "begins at the other end",
    "a_group_is_there_from_its_first_opening_on": "forgets groups that have settled nothing",
    "a_new_group_that_begins_at_the_end": "begins at the other end",
    "a_group_that_begins_at_a_time": "ignores times",
    "without_following_it_ends": "never ends",
    "without_a_group_nothing_is_saved": "remembers who has no group",
    "the_readers_of_a_group_share_its_events": "gives everything to each reader",
    "a_reader_that_leaves_leaves_its_events_to_the_other": "keeps what it had",
    "one_group_twice_in_one_pipeline_is_refused": "hides who it is",
    "a_source_that_waits_takes_no_more_than_its_prefetch": "takes more than it says",
    "a_pipeline_that_stands_still_reads_no_more": "gives more than is asked",
    "what_was_not_committed_comes_again": "settles what it gives",
    "what_was_committed_does_not_come_again": "settles nothing",
    "after_a_commit_in_the_middle_exactly_the_rest_comes": "settles all",
    "a_read_that_is_cancelled_loses_nothing": "loses what it has when it is cancelled",
    "a_reader_that_is_cancelled_while_it_waits_lets_go": "a reader that left still takes",
    "a_sink_that_fails_in_the_middle_loses_nothing": "settles what it gives",
    "a_position_never_passes_what_has_not_left_the_sinks": "settles what it gives",
    "a_pipeline_that_restarts_goes_on_by_itself": "settles what it gives",
    "a_drain_loses_nothing_and_repeats_nothing": "settles nothing",
    "what_cant_be_read_becomes_a_dead_letter": "changes bytes",
    "dead_letters_go_to_a_topic_of_the_same_broker": "changes bytes",
    "dead_letters_are_listed_replayed_and_discarded": "never ends",
    "without_dead_letters_it_fails_and_goes_on_after_the_fix": "settles what it gives",
    "bytes_that_are_no_json_are_kept_as_they_are": "changes bytes",
    "state_is_exact_however_often_it_is_cancelled": "settles what it gives",
    "state_is_exact_however_often_it_fails": "settles what it gives",
    "state_is_exact_after_drains": "drops one of ten",
    "a_checkpoint_is_all_that_is_needed": "names what comes again anew",
    "an_event_too_large_is_named_and_the_rest_is_stored": "takes any size",
    "source_and_sink_go_on_after_a_restart": "ends at a restart",
    "a_restart_while_events_flow_loses_nothing": "forgets what is out at a restart",
    "a_broker_that_stands_still_holds_the_sink_up": "takes more and more while it stands still",
    "closing_takes_no_longer_though_the_broker_stands_still": "closes slowly",
    "passwords_are_never_shown": "shows the password",
    "a_server_that_isnt_there_is_told_soon": "is everywhere",
    "an_option_that_isnt_there_is_refused_with_those_that_are": "takes any option",
    "names_and_positions_are_told_as_they_are": "hides who it is",
}

ELSEWHERE = {
    "a_start_that_cant_be_is_refused",  # what refuses it is the topic, whatever the connector
    "without_its_client_the_topic_names_the_extra",  # there is no client: see the connectors' own tests
}


def test_each_test_has_a_fault() -> None:
    tests = {name for name, _ in inspect.getmembers(BrokerSuite) if name.startswith("test_")}
    assert {f"test_{name}" for name in {*FAULTS, *ELSEWHERE}} == tests


@pytest.mark.parametrize(("test", "fault"), FAULTS.items())
async def test_the_suite_finds(pond: Pond, test: str, fault: str) -> None:
    pond.fault = fault
    suite = OnPond()
    suite.patience, suite.closing, suite.flood = 1.0, 0.3, 3_000
    with pytest.raises(Exception) as found:
        await getattr(suite, f"test_{test}")()
    assert not isinstance(found.value, AttributeError | TypeError)  # that would be the test's own
