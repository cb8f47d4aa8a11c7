"""A pipeline is checked when it is built: all faults at once, each with where, what and the fix."""

from typing import Any

import pytest

from reactor import DeadLetters, Fault, GraphError, Inlet, Pipeline, Stream, Tumbling, topic
from tests.engine.scripted import Log, Probe
from tests.operators.table import plus_one


def build_one(*branches: Any, **how: Any) -> Fault:
    """Build it; return the one fault that it has."""
    with pytest.raises(GraphError) as refusal:
        Pipeline("shop", *branches, **how)
    (fault,) = refusal.value.faults
    assert str(refusal.value) == f"shop: 1 fault\n  1. {fault}"
    return fault


def test_all_faults_at_once_each_with_its_fix() -> None:
    log = Log(range(3), name="orders", identity="sqlite:shop.db/orders@billing")
    again = Log(range(3), name="orders again", identity="sqlite:shop.db/orders@billing")
    yes, _no = Stream(log).map(str, name="twice").split(bool)
    sure = yes.map(str, name="twice").distinct().map(str, on_error=DeadLetters())
    with pytest.raises(GraphError) as refusal:
        Pipeline("shop", sure.discard(), Stream(again).discard())
    error = refusal.value
    assert error.graph == "shop"
    assert len(error.faults) == 5
    lines = str(error).splitlines()
    assert lines[0] == "shop: 5 faults"
    assert [line[:5] for line in lines[1:]] == [f"  {n}. " for n in range(1, 6)]
    for part in (
        "output 1 is used by nobody",
        "twice: two operators have this name; give each name= once",
        "on_error=DeadLetters(), but the pipeline has nowhere to put them",
        "group sqlite:shop.db/orders@billing is subscribed twice in one pipeline; share one Stream, or",
        "distinct(): remembers what it has seen, over orders, which is read on from its committed position",
    ):
        assert part in str(error)


def test_a_pipeline_needs_a_branch() -> None:
    fault = build_one()
    assert fault == Fault(
        "shop", "has no branches", "pass at least one stream that ends in to() or discard()"
    )


def test_an_unused_branch_of_a_split() -> None:
    yes, _ = Stream([1]).split(bool, name="parted")
    fault = build_one(yes.discard())
    assert fault.where == "parted"
    assert "output 1 is used by nobody, its events would be lost" in fault.what
    assert "end it with to() or discard()" in fault.fix


def test_names_are_given_once() -> None:
    fault = build_one(Stream([1]).map(str, name="a").map(str, name="a").discard())
    assert fault.where == "a"


def test_equal_operators_without_names_are_fine() -> None:
    Pipeline("shop", Stream([1]).map(str).map(str).discard())


@pytest.mark.parametrize(
    "build",
    [
        lambda s: s.map(str, on_error=DeadLetters()).discard(),
        lambda s: s.map(plus_one, concurrency=2, on_error=DeadLetters()).discard(),
        lambda s: s.scan(max, 0, on_error=DeadLetters()).discard(),
        lambda s: s.to(print, on_error=DeadLetters()),
        lambda s: s.to(Probe(), on_error=DeadLetters()),
    ],
)
def test_dead_letters_need_somewhere_to_go(build: Any) -> None:
    fault = build_one(build(Stream([1])))
    assert "nowhere to put them" in fault.what
    assert fault.fix == "pass Pipeline(..., dead_letters=topic(...))"
    Pipeline("shop", build(Stream([1])), dead_letters=print)


def test_dead_letters_in_place_have_nowhere_to_go() -> None:
    with pytest.raises(GraphError, match="nowhere to put them"):
        aiter(Stream([1]).map(str, on_error=DeadLetters()))


def test_a_source_object_read_by_two_streams() -> None:
    log = Log([1], name="orders")
    fault = build_one(Stream(log).discard(), Stream(log).discard())
    assert "the same source as orders, read by two streams" in fault.what
    assert fault.fix == "share one Stream"


def test_an_inlet_read_by_two_streams() -> None:
    inlet = Inlet[int]()
    assert "read by two streams" in build_one(Stream(inlet).discard(), Stream(inlet).discard()).what


def test_an_iterator_read_by_two_streams() -> None:
    iterator = iter([1, 2])
    assert "read by two streams" in build_one(Stream(iterator).discard(), Stream(iterator).discard()).what


def test_one_stream_shared_by_two_branches_is_fine() -> None:
    shared = Stream(Log([1]))
    Pipeline("shop", shared.discard(), shared.discard())


def test_a_group_subscribed_twice() -> None:
    orders = topic("memory:orders", dict)
    left, right = orders.subscribe("billing"), orders.subscribe("billing")
    fault = build_one(left.discard(), right.discard())
    assert "is subscribed twice in one pipeline" in fault.what
    Pipeline("shop", left.discard(), orders.subscribe("audit").discard())
    Pipeline("shop", left.discard(), left.map(str).discard())


REMEMBERING = {
    "scan": lambda s, v: s.scan(max, 0, volatile=v),
    "distinct": lambda s, v: s.distinct(volatile=v),
    "take": lambda s, v: s.take(1, volatile=v),
    "take_while": lambda s, v: s.take_while(bool, volatile=v),
    "skip": lambda s, v: s.skip(1, volatile=v),
    "skip_while": lambda s, v: s.skip_while(bool, volatile=v),
    "enumerate": lambda s, v: s.enumerate(volatile=v),
    "pairwise": lambda s, v: s.pairwise(volatile=v),
    "reduce": lambda s, v: s.key_by(str).reduce(max, volatile=v),
    "keyed scan": lambda s, v: s.key_by(str).scan(max, 0, volatile=v),
}


@pytest.mark.parametrize("what", REMEMBERING)
def test_remembering_over_a_source_that_replays(what: str) -> None:
    build = REMEMBERING[what]
    fault = build_one(build(Stream(Log([1], name="orders")), False).discard())
    assert "over orders, which is read on from its committed position after a restart" in fault.what
    assert "volatile=True" in fault.fix
    Pipeline("shop", build(Stream(Log([1])), True).discard())
    Pipeline("shop", build(Stream([1]), False).discard())
    Pipeline("shop", build(Stream(Inlet[int]()), False).discard())


@pytest.mark.parametrize(
    "build",
    [
        lambda s: s.map(str),
        lambda s: s.batch(3),
        lambda s: s.batch(3, max_wait=1),
        lambda s: s.map(plus_one, concurrency=4),
        lambda s: s.flat_map(list),
        lambda s: s.merge(s),
    ],
)
def test_what_only_holds_or_keeps_nothing_is_fine_over_a_source_that_replays(build: Any) -> None:
    Pipeline("shop", build(Stream(Log([1]))).discard())


def test_concat_of_branches_with_a_common_ancestor() -> None:
    shared = Stream([1]).map(str, name="shared")
    fault = build_one(shared.map(str).concat(shared).discard())
    assert fault.where == "concat()"
    assert "its inputs share" in fault.what
    assert "shared" in fault.what
    assert "or use merge()" in fault.fix
    assert "concat()" in build_one(shared.concat(shared).discard()).where


def test_concat_over_a_split_of_one_source() -> None:
    yes, no = Stream([1]).split(bool)
    assert "its inputs share" in build_one(yes.concat(no).discard()).what


def test_zip_of_branches_with_a_common_ancestor_needs_buffers() -> None:
    shared = Stream([1])
    fault = build_one(shared.zip(shared.filter(bool)).discard())
    assert fault.where == "zip()"
    assert "put an explicit buffer(n) into each branch" in fault.fix
    assert "zip()" in build_one(shared.buffer(3).zip(shared.filter(bool)).discard()).where
    Pipeline("shop", shared.buffer(3).zip(shared.filter(bool).buffer(3)).discard())


def test_zip_with_a_common_ancestor_deep_inside() -> None:
    shared = Stream([1])
    left = shared.merge(Stream([2])).map(str)
    assert "its inputs share" in build_one(left.zip(shared.map(str)).discard()).what


def test_a_buffer_before_the_common_ancestor_does_not_help() -> None:
    shared = Stream([1]).buffer(100).map(str)
    assert "its inputs share" in build_one(shared.zip(shared.filter(bool)).discard()).what


def test_zip_of_a_merge_needs_a_buffer_on_every_way_from_the_ancestor() -> None:
    """One of the merge's inputs is buffered, the other one comes from the shared stream without."""
    shared = Stream([1])
    left = Stream([2]).buffer(10).merge(shared.filter(bool))
    assert "its inputs share" in build_one(left.zip(shared.buffer(10)).discard()).what


def test_a_lambda_for_processes() -> None:
    fault = build_one(Stream([1]).map(lambda n: n, processes=2).discard())
    assert "another process can import" in fault.what
    assert fault.fix == "define it with def at the top level of a module"


def test_in_place_streams_are_checked_too() -> None:
    shared = Stream([1])
    for call in (shared.concat(shared).open, shared.concat(shared).__aiter__):
        with pytest.raises(GraphError, match="its inputs share"):
            call()


def test_a_graph_error_is_no_argument_error_of_one_call() -> None:
    assert not issubclass(GraphError, ValueError)


def test_a_long_chain_is_no_problem() -> None:
    stream: Stream[Any] = Stream([1])
    for _ in range(2000):
        stream = stream.map(str)
    Pipeline("shop", stream.discard())
    repr(stream)


def test_with_latest_of_a_window_of_the_same_stream_needs_a_buffer_or_a_table() -> None:
    times = Stream([1, 2, 3]).event_time(float, unit="s")
    windows = times.window(Tumbling(10)).count()
    with pytest.raises(GraphError, match=r"fills up until window\(Tumbling\(10\)\)\.count\(\) gives"):
        Pipeline("p", times.with_latest(windows).discard())
    with pytest.raises(GraphError, match="join_table"):
        Pipeline("p", times.combine_latest(windows).discard())
    Pipeline("p", times.with_latest(times.map(str)).discard())
    Pipeline("p", times.buffer(9).with_latest(windows.buffer(9)).discard())


def test_windows_need_event_times_that_get_through() -> None:
    numbers = Stream([1, 2, 3])
    with pytest.raises(GraphError, match=r"no event time; put event_time\(fn"):
        Pipeline("p", numbers.window(Tumbling(10)).count().discard())
    zipped = numbers.event_time(float, unit="s").zip(Stream([1]))
    with pytest.raises(GraphError, match=r"don't get through zip\(\); put event_time"):
        Pipeline("p", zipped.window(Tumbling(10)).count().discard())
    Pipeline("p", numbers.window(Tumbling(10, clock=True)).count().discard())
