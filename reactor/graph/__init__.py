"""What to run, as frozen data: nodes, checks, explain."""

from reactor.graph.checks import can_replay, check, transactional
from reactor.graph.explain import ChannelView, Description, StageView, describe
from reactor.graph.node import Column, Graph, Memory, Node, Operator, Port, Times, name_of

__all__ = [
    "ChannelView",
    "Description",
    "StageView",
    "Column",
    "Graph",
    "Memory",
    "Node",
    "Operator",
    "Port",
    "Times",
    "can_replay",
    "check",
    "describe",
    "name_of",
    "transactional",
]
