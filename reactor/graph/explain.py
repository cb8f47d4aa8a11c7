"""The plan of a graph as data, text or Mermaid. The engine adds stages and channels."""

from __future__ import annotations

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage: the operators that run in one task, and what each remembers."""

    name: str
    operators: tuple[tuple[str, str], ...]
    reads: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel: from stage to stage, bounded in events."""

    source: str
    target: str
    capacity: int
    overflow: str


@dataclass(frozen=True, slots=True)
class Description:
    """What ``explain()`` tells."""

    pipeline: str
    guarantee: str
    why: str
    stages: tuple[StageView, ...]
    channels: tuple[ChannelView, ...]


def describe(plan: Description, form: str) -> str:
    """Render as ``text``, ``json`` or ``mermaid``."""
    return {"text": _text, "json": _json, "mermaid": _mermaid}[form](plan)


def _text(plan: Description) -> str:
    lines = [f"pipeline {plan.pipeline}", f"guarantee: {plan.guarantee} ({plan.why})"]
    for stage in plan.stages:
        lines.append(f"stage {stage.name}")
        lines += [f"  {label:<40} {memory}".rstrip() for label, memory in stage.operators]
    if plan.channels:
        lines.append("channels")
        for c in plan.channels:
            extra = "" if c.overflow == "block" else f", {c.overflow}"
            lines.append(f"  {c.source} -> {c.target}  ({c.capacity} events{extra})")
    return "\n".join(lines)


def _json(plan: Description) -> str:
    return orjson.dumps(plan, option=orjson.OPT_INDENT_2).decode()


def _mermaid(plan: Description) -> str:
    ids = {stage.name: f"s{n}" for n, stage in enumerate(plan.stages)}
    lines = ["flowchart LR"]
    for stage in plan.stages:
        text = "<br/>".join(" ".join(label.replace('"', "'").split()) for label, _ in stage.operators)
        lines.append(f'  {ids[stage.name]}["{text}"]')
    for c in plan.channels:
        lines.append(f"  {ids[c.source]} -->|{c.capacity}| {ids[c.target]}")
    return "\n".join(lines)
