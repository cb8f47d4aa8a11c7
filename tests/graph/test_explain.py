"""explain(): the plan as text, JSON and Mermaid; names of what was not named."""

import json
import re
from typing import Any

from reactor import Inlet, Pipeline, Stream
from tests.engine.scripted import Log, Probe
from tests.operators.table import negative, plus_one


def pipeline() -> Pipeline:
    orders = Stream(Log([1], name="orders"))
    charged = orders.map(negative).filter(bool).map(plus_one, concurrency=8, name="charge")
    counted = orders.buffer(5, "drop_oldest").scan(max, 0, volatile=True).batch(3)
    return Pipeline("billing", charged.to(Probe("payments")), counted.discard(), capacity=64)


def test_text_tells_stages_channels_memory_and_guarantee() -> None:
    text = pipeline().explain()
    assert text.splitlines()[0] == "pipeline billing"
    assert (
        "guarantee: at least once (orders: positions are committed after all sinks have what came before them)"
        in text
    )
    stages = [line.removeprefix("stage ") for line in text.splitlines() if line.startswith("stage ")]
    assert stages == [
        "orders",
        "map(negative) | filter(bool)",
        "charge",
        "to(payments)",
        "buffer(5, drop_oldest) | scan(max) | batch(3) | discard()",
    ]
    assert re.search(r"  scan\(max\) +remembering, volatile\n", text)
    assert re.search(r"  batch\(3\) +holding\n", text)
    assert re.search(r"  charge +holding\n", text)
    assert "  orders -> map(negative) | filter(bool)  (64 events)" in text
    assert "(5 events, drop_oldest)" in text


def test_json_has_the_same() -> None:
    plan = json.loads(pipeline().explain("json"))
    assert plan["pipeline"] == "billing"
    assert plan["guarantee"] == "at least once"
    assert len(plan["stages"]) == 5
    assert ["scan(max)", "remembering, volatile"] in plan["stages"][4]["operators"]
    channel = next(c for c in plan["channels"] if c["target"].startswith("buffer"))
    assert (channel["capacity"], channel["overflow"]) == (5, "drop_oldest")
    names = {stage["name"] for stage in plan["stages"]}
    assert {c["source"] for c in plan["channels"]} | {c["target"] for c in plan["channels"]} <= names


def test_mermaid_draws_every_stage_and_channel() -> None:
    lines = pipeline().explain("mermaid").splitlines()
    assert lines[0] == "flowchart LR"
    nodes = dict(re.findall(r'^  (s\d+)\["(.*)"\]$', "\n".join(lines), re.M))
    arrows = re.findall(r"^  (s\d+) -->\|(\d+)\| (s\d+)$", "\n".join(lines), re.M)
    assert len(nodes) == 5
    assert len(arrows) == 4
    assert len(lines) == 1 + 5 + 4
    assert {name for arrow in arrows for name in (arrow[0], arrow[2])} <= set(nodes)


def test_mermaid_stays_valid_with_odd_names() -> None:
    odd = 'say "hi" <b>&</b> [x] {y} | #1; %% `z`\nline'
    text = Pipeline("p", Stream([1]).map(str, name=odd).discard()).explain("mermaid")
    for line in text.splitlines()[1:]:
        assert re.fullmatch(r'  s\d+\["[^"\n]*"\]', line), line


def test_sync_neighbours_are_one_stage() -> None:
    stream = Stream([1]).map(str).filter(bool).flat_map(list).batch(2).take(3)
    plan = json.loads(Pipeline("p", stream.discard()).explain("json"))
    assert len(plan["stages"]) == 1
    assert plan["channels"] == []


def test_a_source_that_cannot_replay_is_at_most_once_and_says_why() -> None:
    plan = json.loads(Pipeline("p", Stream([1]).discard()).explain("json"))
    assert plan["guarantee"] == "at most once"
    assert "no source can be read again after a crash" in plan["why"]
    assert (
        json.loads(Pipeline("p", Stream(Inlet[int]()).discard()).explain("json"))["guarantee"]
        == "at most once"
    )


def test_two_kinds_of_sources_are_at_least_once_for_some() -> None:
    text = Pipeline("p", Stream(Log([1], name="orders")).discard(), Stream([1]).discard()).explain()
    assert "guarantee: at least once for some (orders: positions are committed" in text


def test_exactly_once_is_not_claimed() -> None:
    assert "exactly once" not in pipeline().explain()


def test_operators_that_are_alike_are_told_apart() -> None:
    text = Pipeline("p", Stream([1]).map(str).map(str).discard()).explain()
    assert "map(str) | map(str)#2 | discard()" in text


def test_two_stages_never_have_the_same_name() -> None:
    shared = Stream([1])
    branches = [shared.map(str).discard() for _ in range(3)]
    plan = json.loads(Pipeline("p", *branches).explain("json"))
    names = [stage["name"] for stage in plan["stages"]]
    assert len(set(names)) == len(names) == 4


def test_long_chains_have_short_stage_names() -> None:
    stream: Stream[Any] = Stream([1])
    for n in range(30):
        stream = stream.map(str, name=f"step {n}")
    text = Pipeline("p", stream.discard()).explain()
    assert "list | step 0 | ... | step 29 | discard()" in text
    assert "  step 15" in text


def test_lambdas_are_named_by_their_line() -> None:
    assert re.search(r"map\(lambda:\d+\)", Pipeline("p", Stream([1]).map(lambda n: n).discard()).explain())


def test_explain_opens_nothing_and_can_be_asked_while_it_runs_and_often() -> None:
    log, probe = Log([1]), Probe[int]()
    built = Pipeline("p", Stream(log).to(probe))
    assert built.explain() == built.explain("text")
    assert log.calls == probe.calls == []


def test_reprs_are_short_and_tell_what_it_is() -> None:
    stream = Stream([1]).map(str)
    assert repr(stream) == "<Stream list | map(str)>"
    assert repr(stream.discard()) == "<discard()>"
    assert repr(Pipeline("p", stream.discard())) == "<Pipeline 'p', 3 operators>"
