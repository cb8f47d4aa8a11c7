"""The picture: one panel per workload, a bar per system, on one logarithmic scale."""

from pathlib import Path

from .harness import Outcome, Workload


def draw(path: Path, workloads: list[Workload], outcomes: list[Outcome]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    columns = min(2, len(workloads))
    rows = -(-len(workloads) // columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(6.5 * columns, 2.6 * rows + 0.4), squeeze=False, layout="constrained"
    )
    cells = [panel for row in panels for panel in row]
    for panel, workload in zip(cells, workloads, strict=False):
        shown = sorted(
            (outcome for outcome in outcomes if outcome.workload == workload.name),
            key=lambda outcome: outcome.ns_per_event,
            reverse=True,
        )
        colours = [_colour(outcome.system) for outcome in shown]
        bars = panel.barh(
            [outcome.system for outcome in shown], [outcome.ns_per_event for outcome in shown], color=colours
        )
        labels = [f"{outcome.ns_per_event:,.0f} ns  ({outcome.ratio_to_loop:.2g})" for outcome in shown]
        panel.bar_label(bars, labels, padding=3, fontsize=8)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda ns, _: f"{ns:,.0f}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        low, high = shown[-1].ns_per_event, shown[0].ns_per_event
        panel.set_xlim(low / 3, high * (high / low * 3) ** 0.35 * 2)
        panel.set_title(f"{workload.name}: {workload.what}", fontsize=10, loc="left")
        panel.set_xlabel(
            f"ns per {workload.unit}, shorter is better (in brackets: throughput / the loop's)", fontsize=8
        )
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in cells[len(workloads) :]:
        panel.set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _colour(system: str) -> str:
    if system == "reactor":
        return "#d1495b"
    return "#30638e" if system.startswith("loop") else "#b8c4cc"
