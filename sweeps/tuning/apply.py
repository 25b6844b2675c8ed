"""`grasp tune apply`: a study's winner written as tuned settings of a planner, with their provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.core.cell import Scalar
from planners import full_settings
from sweeps.config.compose import compose
from sweeps.config.files import groups
from sweeps.config.grid import spec_of
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import SweepConfig
from sweeps.config.tuned import tuned_file, tuned_text
from sweeps.console.terminal import say
from sweeps.tuning.rounding import rounding_words
from sweeps.tuning.winner import WINNER, Candidate, StudyCondition, StudyReport, read_winner
from world_models.errors import UnknownNameError, UserError, require
from world_models.files.names import inside
from world_models.files.writing import write_file

CONF = Path("conf")
"""Default folder for the user's own configs, without --conf."""


@dataclass(frozen=True)
class _Target:
    """The planner that settings are written for, in a folder of configs."""

    label: str
    kind: str
    """The planner's name in planners/."""
    folder: Path
    own: Mapping[tuple[str, int], Mapping[str, Scalar]]
    """All settings from its own file, by task label and horizon; empty for a planner without a config."""

    def file(self, condition: StudyCondition) -> Path:
        """The tuned file for one of the study's tasks and horizons."""
        return tuned_file(self.folder, self.label, condition["task"], condition["horizon"])


def apply(study: str | None, outputs: Outputs, conf: Path | None, name: str | None, trial: int | None, console: Console) -> int:
    """Write a study's winner, or another of its candidates, to CONF/tuned/NAME, and CONF/planner/NAME.yaml for a new planner.

    Raises UserError for an unknown study or trial, a planner of another kind, and a file that already exists.
    """
    names = sorted(file.parent.name for file in outputs.studies.glob(f"*/{WINNER}"))
    if study is None:
        ended = ", ".join(names) or "the studies that grasp tune has finished"
        raise UserError(f"name the study: grasp tune apply STUDY, one of {ended}.")
    if study not in names:
        raise UnknownNameError("study with a winner", study, names)
    report = read_winner(outputs.study(study), study)
    candidate = _candidate_of(report, trial)
    label = name or study.replace(".", "_")
    target = _target(label, conf or CONF, report)
    files = [target.file(condition) for condition in report["places"]]
    for file in files:
        require(not file.exists(), f"{file} exists already: give another name with --name NAME, or remove it.")
    command = f"grasp tune apply {study} --name {label}{'' if trial is None else f' --trial {trial}'}"
    _write(target, report, candidate, command)
    where = f"{candidate['label']} of study {study} is in {', '.join(map(str, files))}"
    how = f"grasp sweep --conf {target.folder} planner={label}"
    say(console, f"{where}. {_rounding_words(candidate)}Plan with it: {how}")
    return 0


def _target(name: str, folder: Path, report: StudyReport) -> _Target:
    """The planner with that name in the configs, or a new one; UserError if it is of another kind."""
    require(
        bool(name) and all(c.isalnum() or c in "_-" for c in name),
        f"planner name {name!r} is not a file name: use letters, digits, _ and -.",
    )
    extra, kind = folder if folder.is_dir() else None, report["planner"]
    if name not in groups(extra)["planner"]:
        return _Target(name, kind, folder, {})
    tasks = ",".join(dict.fromkeys(condition["task"] for condition in report["places"]))
    spec = spec_of(compose(SweepConfig, [f"task=[{tasks}]", f"planner=[{name}]"], extra), extra)
    planner, entries = spec.planners[0].untuned(), {task.label: task for task in spec.tasks}
    require(
        planner.planner.name == kind,
        f"planner {name!r} is {planner.planner.name}, but study {report['study']} tuned {kind}: give another --name.",
    )
    conditions = [(condition["task"], condition["horizon"]) for condition in report["places"]]
    own = {(task, horizon): full_settings(kind, planner.at(entries[task], horizon).as_dict()) for task, horizon in conditions}
    return _Target(planner.label, kind, folder, own)


def _candidate_of(report: StudyReport, trial: int | None) -> Candidate:
    candidates = [candidate for candidate in report["candidates"] if candidate["trial"] is not None]
    require(
        bool(candidates),
        f"study {report['study']} has no trial that was judged on held-out problems: run grasp tune again, with more trials.",
    )
    if trial is None:
        require(
            len(report["objectives"]) == 1 or len(candidates) == 1,
            f"study {report['study']} has a front of {len(candidates)} trials: select one with --trial, "
            f"e.g. --trial {candidates[0]['trial']}.",
        )
        require(
            report["candidates"][0]["trial"] is not None,
            f"study {report['study']} found nothing better than the planner's own settings: to apply a trial anyway, give "
            f"--trial, e.g. --trial {candidates[0]['trial']}.",
        )
        return candidates[0]
    for candidate in candidates:
        if candidate["trial"] == trial:
            return candidate
    known = ", ".join(str(candidate["trial"]) for candidate in candidates)
    raise UserError(f"trial {trial} is not a candidate of study {report['study']}: give one of {known}.")


def _write(target: _Target, report: StudyReport, candidate: Candidate, command: str) -> None:
    """Write a tuned file per task and horizon of the study, and the planner's own file if it is new."""
    applied = _with_rounded(candidate)
    texts = {
        target.file(condition): tuned_text(
            command, _settings_at(target, condition, settings), provenance(report, applied, condition)
        )
        for condition, settings in zip(report["places"], applied["places"], strict=True)
    }
    if not target.own:
        text = f"# @package planners.{target.label}\n"
        text += f"# The settings that studies found per task and horizon are in tuned/{target.label}.\n"
        text += f"name: {target.kind}\nsettings: {{}}\noverrides: []\n"
        texts[inside(target.folder, "planner", f"{target.label}.yaml")] = text
    for file, text in texts.items():
        write_file(file, text)


def _settings_at(target: _Target, condition: StudyCondition, judged: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The judged settings: all that differ from the defaults of the planner's kind or from its own file."""
    usual = full_settings(target.kind)
    own = target.own.get((condition["task"], condition["horizon"]), usual)
    return {name: value for name, value in {**usual, **judged}.items() if value != usual[name] or value != own[name]}


def _with_rounded(candidate: Candidate) -> Candidate:
    """The candidate, with its rounded settings and their results in place of its own if they succeed alike."""
    rounded = candidate.get("rounded")
    if rounded is None:
        return candidate
    applied = candidate.copy()
    if rounded["alike"]:
        applied["places"], applied["held_out"] = rounded["places"], rounded["held_out"]
        applied["versus_default"] = rounded["versus_default"]
    applied["rounding"] = {
        "digits": rounded["digits"],
        "taken": rounded["alike"],
        "rounded_success": round(rounded["held_out"]["success"], 4),
        "unrounded_success": round(candidate["held_out"]["success"], 4),
        "p_value": round(rounded["p_value"], 4),
    }
    return applied


def _rounding_words(candidate: Candidate) -> str:
    """One sentence on how the digits were rounded; empty if there is nothing to say."""
    rounded = candidate.get("rounded")
    if rounded is not None:
        rates = (rounded["held_out"]["success"], candidate["held_out"]["success"])
        return f"{rounding_words(rounded['digits'], rounded['alike'], *rates, rounded['p_value'])} "
    if any(isinstance(value, float) and value != float(f"{value:.3g}") for value in candidate["settings"].values()):
        return "All digits are kept, because grasp tune did not judge rounded settings. "
    return ""


def provenance(report: StudyReport, candidate: Candidate, condition: StudyCondition) -> dict[str, Any]:
    """The origin of tuned settings, and their results on problems that were not used for tuning or selection."""
    held_out, versus = candidate["held_out"], candidate["versus_default"]
    found = {
        "study": report["study"],
        "trial": candidate["trial"],
        "of_trials": report["trials"],
        "model": condition["model"],
        "model_digest": condition["digest"],
        "tuning_seeds": report["tuning_seeds"],
        "choice_seeds": report["choice_seeds"],
        "held_out_seeds": report["held_out_seeds"],
        "held_out_success": round(held_out["success"], 4),
        "held_out_interval": [round(end, 4) for end in held_out["interval"]],
        "date": report["date"],
        "revision": report["revision"],
    }
    if versus is not None and versus["difference"] is not None:
        found["versus_default"] = round(versus["difference"], 4)
        found["versus_default_interval"] = [None if end is None else round(end, 4) for end in versus["interval"]]
    if "rounding" in candidate:
        found["rounding"] = candidate["rounding"]
    return found
