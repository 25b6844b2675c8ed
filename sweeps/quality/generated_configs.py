"""Generated configs: the tuned planners and the sweeps of the planning-quality study, in OUTPUT/quality/conf.

`grasp sweep --conf OUTPUT/quality/conf sweep=quality_own_push_t_H50` plans one of them by hand. A planner's file is called
quality_LABEL, and its package is the label that tables show.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestrator.core.cell import Scalar
from planners import full_settings
from sweeps.config.tuned import tuned_file, tuned_text
from sweeps.quality.spec import GRASP, Condition, QualitySpec
from sweeps.quality.studies import TunedSettings, studies_of, tuned_settings
from sweeps.quality.sweeps import SweepPlan, ablated_label, ablations, equal_seconds, factors_of, time_capped_label, timed_label
from world_models.files.writing import write_file

MARGIN = 0.9
"""Fraction of a share of seconds that is set as the limit: the last iteration runs past it, and the share must hold."""

Found = Mapping[tuple[str, str], TunedSettings]
"""Tuned settings by planner label and condition name."""


@dataclass(frozen=True)
class Rule:
    """A planner's settings for one task file and horizon, with their provenance."""

    condition: Condition
    settings: Mapping[str, Scalar]
    provenance: Mapping[str, object]


def all_tuned_settings(spec: QualitySpec) -> dict[tuple[str, str], TunedSettings]:
    """The settings that all studies found; UserError if one has not ended."""
    return {(study.label, study.condition.name): tuned_settings(spec, study) for study in studies_of(spec)}


def file_of(label: str) -> str:
    """Name of a planner's generated file."""
    return f"quality_{label}"


def begin(folder: Path, conf: Path | None) -> None:
    """Create the folder and copy the user's configs into it: a sweep takes only one folder besides the package's."""
    for group in ("planner", "sweep"):
        (folder / group).mkdir(parents=True, exist_ok=True)
    if conf is not None:
        shutil.copytree(conf, folder, dirs_exist_ok=True)


def write_tuned(spec: QualitySpec, folder: Path, found: Found) -> None:
    """Write every planner's tuned settings, a rule for each task and horizon of the tests."""
    for label in spec.planners:
        rules = [
            Rule(condition, one.settings, one.provenance)
            for condition in _conditions(spec)
            if (one := found.get((label, spec.tuning_condition(condition.task, condition.horizon).name))) is not None
        ]
        _write_planner(folder, label, _kind(found, label), rules)


def write_timed(spec: QualitySpec, folder: Path, found: Found, seconds: Mapping[Condition, float]) -> None:
    """Write every other planner with GRASP's seconds; one that knows when the goal is reached may use them for attempts."""
    for label in spec.planners:
        rules = []
        for plan in equal_seconds(spec) if label != GRASP else ():
            for horizon in plan.horizons if timed_label(label) in plan.planners else ():
                condition = Condition(plan.task, horizon)
                condition_name = spec.tuning_condition(*_pair(condition)).name
                one, grasp = found[(label, condition_name)], found[(GRASP, condition_name)]
                rules.append(Rule(condition, _within(spec, one, grasp, seconds[condition]), one.provenance))
        if rules:
            _write_planner(folder, timed_label(label), _kind(found, label), rules)


def write_time_capped(spec: QualitySpec, folder: Path, found: Found, seconds: Mapping[str, Mapping[Condition, float]]) -> None:
    """Write GRASP with a share of the seconds of each planner that it should be faster than; `seconds` are theirs."""
    rules: dict[str, list[Rule]] = {}
    for target in spec.targets["faster"]:
        condition, than = Condition(target["task"], target["horizon"]), target["than"]
        grasp = found[(GRASP, spec.tuning_condition(*_pair(condition)).name)]
        limit = float(f"{MARGIN * target['share'] * seconds[than][condition]:.3g}")
        rules.setdefault(than, []).append(Rule(condition, _within(spec, grasp, grasp, limit), grasp.provenance))
    for than, found_rules in rules.items():
        _write_planner(folder, time_capped_label(than), _kind(found, GRASP), found_rules)


def _within(spec: QualitySpec, one: TunedSettings, grasp: TunedSettings, seconds: float) -> dict[str, Scalar]:
    """Settings for a number of seconds: the time ends the search, not a number of evaluations or attempts."""
    settings = {name: value for name, value in one.settings.items() if name != "max_evaluations"} | {"max_seconds": seconds}
    ends = ("reached_cost", "finish_cost")
    if not any(settings.get(name) for name in ends):
        settings |= {name: grasp.settings[name] for name in ends if grasp.settings.get(name)}
    return settings | ({"attempts": spec.timed_attempts} if any(settings.get(name) for name in ends) else {})


def write_ablations(spec: QualitySpec, folder: Path, found: Found) -> None:
    """Write GRASP with each of the changes; UserError if GRASP has no such setting."""
    for change, settings in spec.changes.items():
        rules = []
        for plan in ablations(spec):
            condition = Condition(plan.task, plan.horizons[0])
            one = found[(GRASP, spec.tuning_condition(*_pair(condition)).name)]
            rules.append(Rule(condition, {**one.settings, **settings}, one.provenance))
        if rules:
            _write_planner(folder, ablated_label(change), _kind(found, GRASP), rules)


def write_sensitivity(spec: QualitySpec, folder: Path, found: Found) -> dict[Condition, tuple[str, ...]]:
    """Write GRASP with each pair of factors; return the labels whose settings differ, by task and horizon."""
    rules: dict[str, list[Rule]] = {}
    labels: dict[Condition, tuple[str, ...]] = {}
    for condition in spec.sensitivity.conditions:
        one = found[(GRASP, spec.tuning_condition(*_pair(condition)).name)]
        seen: dict[tuple[object, object], str] = {}
        for label, factors in factors_of(spec).items():
            values = _scaled(one, factors)
            seen.setdefault((values["goal_weight"], values["noise"]), label)
            rules.setdefault(label, []).append(Rule(condition, {**one.settings, **values}, one.provenance))
        labels[condition] = tuple(seen.values())
    for label, found_rules in rules.items():
        _write_planner(folder, label, _kind(found, GRASP), found_rules)
    return labels


def _scaled(one: TunedSettings, factors: tuple[float, float]) -> dict[str, Scalar]:
    whole = full_settings(one.kind, one.settings)
    values: dict[str, Scalar] = {}
    for name, factor in zip(("goal_weight", "noise"), factors, strict=True):
        value = whole[name]
        assert isinstance(value, int | float)
        values[name] = value if factor == 1 else float(f"{value * factor:.6g}")
    return values


def write_sweep(folder: Path, plan: SweepPlan) -> None:
    """Write one sweep's file."""
    body = {
        "defaults": [
            {"override /task": [plan.task]},
            {"override /planner": [file_of(label) for label in plan.planners]},
        ],
        "name": plan.name,
        "horizons": list(plan.horizons),
        "seeds": list(plan.seeds),
        "mode": plan.mode,
    }
    _write(folder / "sweep" / f"{plan.name}.yaml", f"# @package _global_\n{yaml.safe_dump(body, sort_keys=False, width=120)}")


def _write_planner(folder: Path, label: str, kind: str, rules: list[Rule]) -> None:
    """Write a planner's file, and its settings for each task and horizon as tuned files."""
    body = yaml.safe_dump({"name": kind, "settings": {}, "overrides": []}, sort_keys=False)
    _write(folder / "planner" / f"{file_of(label)}.yaml", f"# @package planners.{label}\n# Written by grasp quality.\n{body}")
    for rule in rules:
        file = tuned_file(folder, label, rule.condition.task, rule.condition.horizon)
        _write(file, tuned_text("grasp quality", rule.settings, rule.provenance))


def _write(file: Path, text: str) -> None:
    write_file(file, text)


def _conditions(spec: QualitySpec) -> list[Condition]:
    """Tasks and horizons of all tests."""
    return list(dict.fromkeys(Condition(test.task, horizon) for test in spec.tests for horizon in test.horizons))


def _kind(found: Found, label: str) -> str:
    return next(one.kind for (name, _), one in found.items() if name == label)


def _pair(condition: Condition) -> tuple[str, int]:
    return condition.task, condition.horizon
