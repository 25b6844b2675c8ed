"""A composed config as YAML, with the source of every value beside it, and the settings that rules give to each planner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from orchestrator.core.cell import Scalar
from orchestrator.core.messages import mask_values, texts_in, visible
from sweeps.config.compose import Composed
from sweeps.config.grid import SweepSpec, spec_of
from sweeps.config.schema.configs import GridConfig
from sweeps.config.schema.entries import PlannerEntry, TaskEntry
from sweeps.config.sources import Sources

COLUMN = 56
"""Column in which the sources stand, where the values leave room."""


def explained(composed: Composed[Any], extra: Path | None = None) -> str:
    """The text of `grasp config`: every key with its value and source, then each planner's settings by task and horizon.

    Raises UserError for a grid that is empty or names what is not there.
    """
    lines = list(_lines(composed.masked, composed.sources, ""))
    if isinstance(composed.config, GridConfig):
        named = replace(composed, config=replace(composed.config, name=composed.config.name or "study"))
        lines += _effective(spec_of(named, extra), composed.sources)
    return "\n".join(lines) + "\n"


def _lines(value: Mapping[str, object], sources: Sources, prefix: str) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    for name, item in value.items():
        key = f"{prefix}{name}"
        if isinstance(item, Mapping) and item:
            yield f"{indent}{name}:"
            yield from _lines(item, sources, f"{key}.")
        elif key.startswith("planners.") and name == "overrides" and isinstance(item, list) and item:
            yield _with_source(f"{indent}{name}: [...]", f"{len(item)} rules, see below")
        else:
            yield _with_source(f"{indent}{name}: {_flow(item)}", sources.of(key))


def _effective(spec: SweepSpec, sources: Sources) -> Iterator[str]:
    for planner in spec.planners:
        for task in spec.tasks:
            for horizon in spec.plan_lengths(task):
                yield ""
                yield f"# {planner.label} on {task.label} at horizon {horizon} (all other settings: the planner's defaults)"
                for name, (value, source) in settings_with_sources(planner, task, horizon, sources).items():
                    yield _with_source(f"{name}: {_flow(mask_values(value))}", source)


def settings_with_sources(
    planner: PlannerEntry, task: TaskEntry, horizon: int, sources: Sources
) -> dict[str, tuple[Scalar, str]]:
    """A planner's settings for a task and horizon, each with the file, rule, tuned file or override that it comes from."""
    where = f"planners.{planner.label}"
    found = {name: (value, sources.of(f"{where}.settings.{name}")) for name, value in planner.planner.settings}
    for position, rule in enumerate(planner.rules):
        if rule.matches(task, horizon):
            file = f"tuned file {rule.source}" if rule.source else f"rule {position + 1} of {sources.of(f'{where}.overrides')}"
            found.update({name: (value, file) for name, value in rule.settings})
    return found | {name: (value, sources.of(f"{where}.settings.{name}")) for name, value in planner.forced}


def _flow(value: object) -> str:
    style = '"' if any("\n" in text for text in texts_in(value)) else None
    text = yaml.safe_dump(
        value, default_style=style, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    ).strip()
    return text.removesuffix("\n...").strip()


def _with_source(text: str, source: str) -> str:
    return f"{text:{COLUMN}} # {visible(' '.join(source.split()))}" if source else text
