"""What to run, as frozen data: nodes, checks, explain."""

from reactor.graph.checks import check
from reactor.graph.explain import ChannelView, Description, StageView, describe
from reactor.graph.node import Column, Graph, Memory, Node, Operator, Port, name_of

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
    "check",
    "describe",
    "name_of",
]
