"""Brokers: events through a pipeline, beside the bare client library and FastStream, at servers on loopback.

``python -m benchmarks brokers [NAME...]`` starts each server for itself (``make brokers`` installs them).
"""
