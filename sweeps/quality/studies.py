"""The studies of the planning-quality study: one for each place and planner, and what they found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.cell import Scalar
from sweeps.quality.spec import Place, QualitySpec
from sweeps.tuning import report as tune_report
from sweeps.tuning.apply import provenance
from sweeps.tuning.report import span
from world_models.errors import UserError


@dataclass(frozen=True)
class Study:
    """A planner tuned at a place."""

    place: Place
    label: str
    """Of the planner."""

    @property
    def name(self) -> str:
        """Of the study, its folder and its sweeps."""
        return f"quality-{self.place.name}-{self.label}"


@dataclass(frozen=True)
class Tuned:
    """What a study found."""

    kind: str
    """The planner's name in planners/."""
    settings: Mapping[str, Scalar]
    """All that differ from the planner's defaults."""
    provenance: Mapping[str, Any]


def studies_of(spec: QualitySpec) -> Iterator[Study]:
    """Place by place."""
    for place in spec.places.values():
        for label, places in spec.planners.items():
            if place.name in places:
                yield Study(place, label)


def tune_words(spec: QualitySpec, study: Study) -> list[str]:
    """What `grasp tune` is asked for a study."""
    tuning, place = spec.tuning, study.place
    words = [
        f"name={study.name}",
        f"task={place.task}",
        f"horizons=[{place.horizon}]",
        f"planner={study.label}",
        f"trials={tuning.trials}",
        f"top={tuning.top}",
        f"seeds={seed_list(tuning.seeds)}",
        f"choice_seeds={seed_list(tuning.choice)}",
        f"held_out={seed_list(spec.seeds_at(place.task, place.horizon))}",
    ]
    fixed = [f"planners.{study.label}.settings.{name}={json.dumps(value)}" for name, value in place.fixed]
    return [*words, *fixed, *tuning.words, *spec.planner_words[study.label], *shared_words(spec)]


def shared_words(spec: QualitySpec) -> list[str]:
    """Where everything goes and what plans it, for `grasp tune` and `grasp sweep`."""
    values = spec.values
    backend = dict(values["backend"])
    words = [f"backend={backend.pop('name')}", f"output={json.dumps(str(values['output']))}"]
    words += [f"backend.{key}={_word(value)}" for key, value in backend.items() if value not in (None, {})]
    return [*words, f"tracking.enabled={json.dumps(bool(dict(values['tracking']).get('enabled')))}"]


def _word(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_word(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def seed_list(seeds: Sequence[int]) -> str:
    """As an override; consecutive ones stay short."""
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{{start:{seeds[0]},count:{len(seeds)}}}"
    return f"[{','.join(map(str, seeds))}]"


def ended(spec: QualitySpec, study: Study, digests: Mapping[str, str]) -> bool:
    """Whether a study has its winner, of as many trials, on these seeds, with this world model (`digests` by task file)."""
    try:
        report = tune_report.read(spec.outputs.study(study.name), study.name)
        asked = (spec.tuning.trials, span(spec.tuning.seeds), span(spec.tuning.choice))
        told = (report["trials"], report["tuning_seeds"], report["choice_seeds"])
        held_out = span(spec.seeds_at(study.place.task, study.place.horizon))
        place = {"task": study.place.task, "horizon": study.place.horizon, "digest": digests[study.place.task]}
        same_place = {key: report["places"][0][key] for key in place} == place
        return asked == told and held_out == report["held_out_seeds"] and same_place
    except (UserError, KeyError, IndexError):
        return False


def tuned(spec: QualitySpec, study: Study) -> Tuned:
    """The winner of a study that has ended, which may be the planner's own settings; UserError where there is none."""
    report = tune_report.read(spec.outputs.study(study.name), study.name)
    winner, place = report["candidates"][0], report["places"][0]
    found = provenance(report, winner, place)
    found |= {"winner": winner["label"], "choice_success": winner["choice"]["success"]}
    found["tuning_success"] = None if winner["tuning"] is None else winner["tuning"]["success"]
    return Tuned(report["planner"], winner["places"][0], found)
