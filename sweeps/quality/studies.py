"""The tuning studies of the planning-quality study: one per condition and planner, and the settings that they found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.core.cell import Scalar
from sweeps.config.overrides import override_text
from sweeps.quality.spec import QualitySpec, TuningCondition
from sweeps.tuning import report as tune_report
from sweeps.tuning.apply import provenance
from sweeps.tuning.report import span
from world_models.errors import UserError


@dataclass(frozen=True)
class Study:
    """The tuning of a planner on a condition."""

    condition: TuningCondition
    label: str
    """The planner's label."""

    @property
    def name(self) -> str:
        """Name of the study, its folder and its sweeps."""
        return f"quality-{self.condition.name}-{self.label}"


@dataclass(frozen=True)
class TunedSettings:
    """The settings that a study found."""

    kind: str
    """The planner's name in planners/."""
    settings: Mapping[str, Scalar]
    """Those that differ from the planner's defaults."""
    provenance: Mapping[str, Any]


def studies_of(spec: QualitySpec) -> Iterator[Study]:
    """All studies, condition by condition."""
    for condition in spec.tuning_conditions.values():
        for label, condition_names in spec.planners.items():
            if condition.name in condition_names:
                yield Study(condition, label)


def tune_overrides(spec: QualitySpec, study: Study) -> list[str]:
    """The overrides with which `grasp tune` runs a study."""
    tuning, condition = spec.tuning, study.condition
    overrides = [
        f"name={study.name}",
        f"task={condition.task}",
        f"horizons=[{condition.horizon}]",
        f"planner={study.label}",
        f"trials={tuning.trials}",
        f"top={tuning.top}",
        f"seeds={seed_list(tuning.seeds)}",
        f"choice_seeds={seed_list(tuning.choice_seeds)}",
        f"held_out={seed_list(spec.seeds_at(condition.task, condition.horizon))}",
        "digits=null",  # the tests use the winners unrounded
    ]
    fixed = [f"planners.{study.label}.settings.{name}={json.dumps(value)}" for name, value in condition.fixed]
    return [*overrides, *fixed, *tuning.overrides, *spec.planner_overrides[study.label], *shared_overrides(spec)]


def shared_overrides(spec: QualitySpec) -> list[str]:
    """Overrides of output, backend and tracking, the same for `grasp tune` and `grasp sweep`."""
    config = spec.config
    backend = asdict(config.backend)
    overrides = [f"backend={backend.pop('name')}", f"output={override_text(str(config.output))}"]
    overrides += [f"backend.{key}={override_text(value)}" for key, value in backend.items() if value not in (None, {})]
    return [*overrides, f"tracking.enabled={override_text(config.tracking.enabled)}"]


def seed_list(seeds: Sequence[int]) -> str:
    """Seeds as the value of an override; consecutive ones are written as a range."""
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{{start:{seeds[0]},count:{len(seeds)}}}"
    return f"[{','.join(map(str, seeds))}]"


def has_ended(spec: QualitySpec, study: Study, digests: Mapping[str, str]) -> bool:
    """Whether a study has a winner for the spec's trials and seeds and for this world model (`digests` by task file)."""
    try:
        report = tune_report.read(spec.outputs.study(study.name), study.name)
        expected = (spec.tuning.trials, span(spec.tuning.seeds), span(spec.tuning.choice_seeds))
        reported = (report["trials"], report["tuning_seeds"], report["choice_seeds"])
        held_out = span(spec.seeds_at(study.condition.task, study.condition.horizon))
        condition = {"task": study.condition.task, "horizon": study.condition.horizon, "digest": digests[study.condition.task]}
        same_condition = {key: report["places"][0][key] for key in condition} == condition
        return expected == reported and held_out == report["held_out_seeds"] and same_condition
    except (UserError, KeyError, IndexError):
        return False


def tuned_settings(spec: QualitySpec, study: Study) -> TunedSettings:
    """The winner of a study that has ended, which may be the planner's own settings; UserError where there is none."""
    report = tune_report.read(spec.outputs.study(study.name), study.name)
    winner, condition = report["candidates"][0], report["places"][0]
    found = provenance(report, winner, condition)
    found |= {"winner": winner["label"], "choice_success": winner["choice"]["success"]}
    found["tuning_success"] = None if winner["tuning"] is None else winner["tuning"]["success"]
    return TunedSettings(report["planner"], winner["places"][0], found)
