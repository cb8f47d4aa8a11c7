"""The workloads, in the order in which they are run and shown."""

from benchmarks.harness import Workload

from . import async_map, batch, channels, failing, fused, inlet, latency

__all__ = ["WORKLOADS"]

WORKLOADS: dict[str, Workload] = {
    module.WORK.name: module.WORK for module in (fused, channels, inlet, failing, async_map, batch, latency)
}
