"""Throughput and latency of reactor beside the hand-written loop and its peers: ``python -m benchmarks``.

How the folder is laid out:

- ``workloads/``   one file per workload: the same work written for each system that can express it
- ``harness.py``   rounds, time, the check that every system's result equals the loop's
- ``goals.py``     what the design promises, and whether a run kept it
- ``growth.py``    how cost and memory grow with depth, concurrency, capacity and number of events
- ``nexmark/``     the queries of NEXMark, on reactor and Bytewax: ``python -m benchmarks nexmark``
- ``report.py``    tables and JSON;  ``plot.py``  the picture
"""
