"""Streams drawn as marbles."""

import re

import anyio
import pytest

from reactor import ArgumentError, Stream
from reactor.testing import MarbleFailure, Marbles, Moment, drawn, marble_of, run_virtual, timeline

both = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def event(time: float, value: object) -> Moment[object]:
    return Moment(time, "event", value)


# The drawing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marbles", "moments"),
    [
        ("", []),
        ("|", [Moment(0, "end")]),
        ("#", [Moment(0, "failure")]),
        ("--|", [Moment(2, "end")]),
        ("a-b--(cd)|", [event(0, "a"), event(1, "b"), event(3, "c"), event(3, "d"), Moment(3, "end")]),
        ("(ab|)", [event(0, "a"), event(0, "b"), Moment(0, "end")]),
        ("ab", [event(0, "a"), event(0, "b")]),
        (" a - b ", [event(0, "a"), event(1, "b")]),
        ("a[60]b[0]c-#", [event(0, "a"), event(60, "b"), event(60, "c"), Moment(61, "failure")]),
        ("{ten}-{a b}", [event(0, "ten"), event(1, "a b")]),
        ("1", [event(0, "1")]),
    ],
)
def test_reading(marbles: str, moments: list[Moment[object]]) -> None:
    assert timeline(marbles) == moments


def test_values_and_steps() -> None:
    assert timeline("a-b", {"a": 1}, dash=0.1) == [event(0, 1), event(0.1, "b")]
    assert timeline("1--{10}", int, dash=60) == [event(0, 1), event(120, 10)]
    assert timeline("---a", dash=0.1) == [event(0.3, "a")]


@pytest.mark.parametrize(
    ("marbles", "complaint"),
    [
        ("a|b", r"'a\|b', character 3: nothing can follow"),
        ("#|", "character 2: nothing can follow"),
        ("|-", "character 2: nothing can follow"),
        ("(a-b)", "character 3: no time passes inside"),
        ("(a[1]b)", "character 3: no time passes inside"),
        ("((a))", "character 2: .* doesn't nest"),
        ("a)", "character 2: .* comes in pairs"),
        ("(ab", "character 4: .* isn't closed"),
        ("{}", "character 1: there is nothing between"),
        ("{a", "character 1: there is nothing between"),
        ("[x]", "character 1: .* takes a number"),
        ("a}", "character 2: nothing was opened"),
        ("a]", "character 2: nothing was opened"),
    ],
)
def test_drawings_that_mean_nothing(marbles: str, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        timeline(marbles)


def test_a_step_takes_time() -> None:
    with pytest.raises(ArgumentError, match=r"dash=0\): must be > 0"):
        timeline("a", dash=0)


@pytest.mark.parametrize(
    "marbles",
    ["", "|", "-|", "a-b--(cd)|", "(ab)-#", "a[10]b|", "---------a", "{ten}-a", "a", "-a", "({|}b)"],
)
def test_drawing_is_the_opposite_of_reading(marbles: str) -> None:
    assert drawn(timeline(marbles)) == marbles


def test_the_same_always_looks_the_same() -> None:
    assert drawn(timeline(" ab ----------c (d|)")) == "(ab)[10](cd)|"


def test_events_by_their_names() -> None:
    moments = [event(0, 1), event(0.5, 22), event(1, (1, 2))]
    assert drawn(moments, {"a": 22}, dash=0.5) == "1-a-{(1, 2)}"


def test_what_comes_between_two_steps_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"'a' came at 1.5 s, which is between two steps of dash=1"):
        drawn([event(1.5, "a")])


# Playing and recording -----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("marbles", ["|", "a-b--(cd)|", "a[3600]b|", "a--#", "--|", "(ab)#"])
def test_what_is_played_is_recorded(loop: str, marbles: str) -> None:
    async def main() -> str:
        return await marble_of(Stream(Marbles(marbles)))

    assert run_virtual(main, loop=loop).result == marbles


@both
def test_operators_in_time(loop: str) -> None:
    async def main() -> None:
        source = Stream(Marbles("ab-c----d-|", dash=0.5))
        assert await marble_of(source.map(str.upper), dash=0.5) == "(AB)-C----D-|"
        batches = source.batch(3, max_wait=2).map("".join)
        assert await marble_of(batches, dash=0.5) == "-{abc}-----d|"
        numbers = Stream(Marbles("1-2-3|", int)).map(lambda n: n * 10)
        assert await marble_of(numbers, {"a": 10, "b": 20, "c": 30}) == "a-b-c|"
        assert await marble_of(numbers.take(2)) == "{10}-{20}|"

    run_virtual(main, loop=loop)


@both
def test_a_drawing_without_an_end_goes_on(loop: str) -> None:
    async def main() -> str:
        return await marble_of(Stream(Marbles("a-b")), until=5)

    assert run_virtual(main, loop=loop) == ("a-b", 5)


@both
def test_a_late_reader_is_given_what_is_due(loop: str) -> None:
    async def main() -> str:
        async def slow(letter: str) -> str:
            await anyio.sleep(2)
            return letter

        return await marble_of(Stream(Marbles("a-b-c|")).map(slow, concurrency=1))

    assert run_virtual(main, loop=loop).result == "--a--b--c|"


@both
def test_each_run_plays_it_again(loop: str) -> None:
    async def main() -> tuple[str, str]:
        stream = Stream(Marbles("-a|"))
        return await marble_of(stream), await marble_of(stream)

    assert run_virtual(main, loop=loop) == (("-a|", "-a|"), 2)


@pytest.mark.anyio
async def test_the_failure_is_of_the_tests_choice() -> None:
    with pytest.raises(MarbleFailure, match="#"):
        await Stream(Marbles("#")).count()
    with pytest.raises(KeyError, match="x"):
        await Stream(Marbles("#", failure=KeyError("x"))).count()


@pytest.mark.anyio
async def test_on_a_real_clock_moments_are_drawn_at_the_nearest_step() -> None:
    marbles = await marble_of(Stream(Marbles("a---b|", dash=0.001)), dash=0.001)
    assert re.fullmatch(r"TaTbT\|".replace("T", r"[-\[\]\d]*"), marbles), marbles
