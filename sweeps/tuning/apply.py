"""`grasp tune apply`: a study's winner as a planner's config, with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from sweeps.config.outputs import Outputs
from sweeps.console.terminal import say
from sweeps.tuning import report as tune_report
from world_models.errors import UnknownNameError, UserError, require

CONF = Path("conf")
"""Where configs of the user's own go unless --conf says otherwise."""


def apply(study: str | None, outputs: Outputs, conf: Path | None, name: str | None, trial: int | None, console: Console) -> int:
    """Write CONF/planner/NAME.yaml with a study's winner, or another of its candidates; UserError for what it does not have."""
    names = sorted(file.parent.name for file in outputs.studies.glob(f"*/{tune_report.WINNER}"))
    if study is None:
        ended = ", ".join(names) or "those that grasp tune has ended"
        raise UserError(f"name the study: grasp tune apply STUDY, one of {ended}.")
    if study not in names:
        raise UnknownNameError("study with a winner", study, names)
    report = tune_report.read(outputs.study(study), study)
    candidate = _candidate_of(report, trial)
    label = name or study.replace(".", "_")
    require(
        bool(label) and all(c.isalnum() or c in "_-" for c in label),
        f"planner name {label!r} is no file name: use letters, digits, _ and -.",
    )
    file = (conf or CONF) / "planner" / f"{label}.yaml"
    require(not file.exists(), f"{file} is there already: choose another name with --name NAME, or remove it.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(planner_file(label, report, candidate))
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}): choose another folder with --conf FOLDER.") from error
    how = f"grasp sweep --conf {conf or CONF} planner={label}"
    say(console, f"{candidate['label']} of study {study} is in {file}; plan with it: {how}")
    return 0


def _candidate_of(report: Mapping[str, Any], trial: int | None) -> Mapping[str, Any]:
    candidates = [candidate for candidate in report["candidates"] if candidate["trial"] is not None]
    if trial is None:
        require(
            len(report["objectives"]) == 1 or len(candidates) == 1,
            f"study {report['study']} has a front of {len(candidates)}: choose one with --trial, "
            f"e.g. --trial {candidates[0]['trial']}.",
        )
        require(
            report["candidates"][0]["trial"] is not None,
            f"study {report['study']} found nothing better than the planner's own settings: name a trial all the same with "
            f"--trial, e.g. --trial {candidates[0]['trial']}.",
        )
        return candidates[0]
    for candidate in candidates:
        if candidate["trial"] == trial:
            return candidate
    known = ", ".join(str(candidate["trial"]) for candidate in candidates)
    raise UserError(f"trial {trial} is none of the candidates of study {report['study']}: choose one of {known}.")


def planner_file(label: str, report: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """The config's text: a rule for each task and horizon that the study was about, with its provenance."""
    rules = [
        {
            "file": condition["task"],
            "horizon": condition["horizon"],
            "settings": settings,
            "provenance": provenance(report, candidate, condition),
        }
        for condition, settings in zip(report["places"], candidate["places"], strict=True)
    ]
    text = yaml.safe_dump({"name": report["planner"], "settings": {}, "overrides": rules}, sort_keys=False, width=120)
    return f"# @package planners.{label}\n# {candidate['label']} of study {report['study']}.\n{text}"


def provenance(report: Mapping[str, Any], candidate: Mapping[str, Any], condition: Mapping[str, Any]) -> dict[str, Any]:
    """Where settings come from, and what they came to on problems that nothing was chosen on."""
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
    if versus is not None:
        found["versus_default"] = round(versus["difference"], 4)
        found["versus_default_interval"] = [round(end, 4) for end in versus["interval"]]
    return found
