"""The workloads, in the order in which they are run and shown."""

from benchmarks.harness import Workload

from . import async_map, batch, channels, checkpoint, codecs, failing, fused, inlet, latency, window

__all__ = ["WORKLOADS"]

WORKLOADS: dict[str, Workload] = {
    **{
        module.WORK.name: module.WORK
        for module in (fused, channels, inlet, failing, async_map, batch, window, latency)
    },
    **{work.name: work for work in (checkpoint.FUSED, checkpoint.WINDOW, *codecs.WORKS)},
}
