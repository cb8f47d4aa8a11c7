"""The picture: throughput and memory by query, and how cost grows."""

from pathlib import Path
from typing import Any

from .events import Market
from .growth import Point
from .measuring import LEFT_OUT, QUERIES, SYSTEMS, Outcome, can

COLOURS = {"reactor": "#d1495b", "bytewax": "#b8c4cc"}
LINES = ("#d1495b", "#30638e", "#edae49", "#66a182", "#7b5e7b", "#5c6b73")


def draw(path: Path, outcomes: list[Outcome], points: list[Point], market: Market) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = 2 if points else 1
    heights = [0.55 * len({outcome.query for outcome in outcomes}) + 1.6, 3.4][:rows]
    figure, panels = pyplot.subplots(
        rows, 2, figsize=(13, sum(heights)), squeeze=False, layout="constrained", height_ratios=heights
    )
    _bars(
        panels[0][0],
        {(o.query, o.system): o.events_per_s_per_core for o in outcomes},
        "events per second per core, longer is better",
        logarithmic=True,
    )
    _bars(
        panels[0][1],
        {(o.query, o.system): o.peak_mib for o in outcomes if o.peak_mib is not None},
        "peak memory of the process in MiB, shorter is better",
        logarithmic=False,
    )
    figure.suptitle(
        f"NEXMark: {max(o.events for o in outcomes):,} events, {market.rate:,} per second of event time",
        fontsize=11,
    )
    if points:
        _lines(
            panels[1][0], [p for p in points if p.of == "events"], "events", "peak_mib", "peak memory, MiB"
        )
        _lines(
            panels[1][1],
            points,
            "how many (events, keys, windows)",
            "ns_per_event",
            "ns of all cores per event",
        )
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _bars(panel: Any, values: dict[tuple[str, str], float], title: str, *, logarithmic: bool) -> None:
    panel.set_title(title, fontsize=10, loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
    if not values:
        panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color="grey")
        panel.set_yticks([])
        return
    names = [name for name in reversed(QUERIES) if any(query == name for query, _ in values)]
    systems = [system for system in SYSTEMS if any(system == other for _, other in values)]
    least, most = min(values.values()), max(values.values())
    left = least / 3 if logarithmic else 0
    for number, system in enumerate(reversed(systems)):
        for place, name in enumerate(names):
            at = place + 0.38 * (number - (len(systems) - 1) / 2)
            value = values.get((name, system))
            if value is None:
                if not can(system, name):
                    panel.text(left, at, f"  {system}: {LEFT_OUT}", va="center", fontsize=7, color="grey")
                continue
            label = system if place == len(names) - 1 else None
            bar = panel.barh(at, value, 0.36, color=COLOURS[system], label=label)
            panel.bar_label(bar, [f"{value:,.0f}"], padding=3, fontsize=8)
    panel.set_yticks(range(len(names)), [f"{name} {QUERIES[name].what}" for name in names])
    if logarithmic:
        panel.set_xscale("log")
        panel.set_xlim(left, most * 2.5)
    else:
        panel.set_xlim(0, most * 1.18)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.legend(fontsize=8, frameon=False, loc="lower right", reverse=True)


def _lines(panel: Any, points: list[Point], across: str, what: str, title: str) -> None:
    from matplotlib.ticker import NullFormatter

    for number, of in enumerate(dict.fromkeys((point.of, point.query) for point in points)):
        line = [point for point in points if (point.of, point.query) == of]
        name = f"{of[1]} with {of[0]}"
        panel.plot(
            [point.at for point in line],
            [getattr(point, what) for point in line],
            marker="o",
            markersize=4,
            label=name,
            color=LINES[number % len(LINES)],
        )
    panel.set_xscale("log")
    panel.set_ylim(0, 1.15 * max(getattr(point, what) for point in points))
    places = {point.at for point in points}
    if len(places) < 4:
        panel.set_xticks(sorted(places))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(across, fontsize=8)
    panel.set_title(f"{title}: flat is best", fontsize=10, loc="left")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False)
