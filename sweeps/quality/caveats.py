"""The sections of the planning-quality page on where its numbers come from and on their limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeps.quality.spec import GRASP
from sweeps.quality.tables import StudyPoint, condition_text


def caveats(facts: Mapping[str, Any], own: Sequence[StudyPoint]) -> Iterator[str]:
    """The sections on tuning, on what did not work, on machine, hours and versions, and on how to repeat the study."""
    yield from _tuned(facts)
    yield from _not_working(facts, own)
    yield from _machine(facts)
    yield from _reproduction(facts)


def _tuned(facts: Mapping[str, Any]) -> Iterator[str]:
    tuning = facts["tuning"]
    (first, count), (choice_first, choice_count) = tuning["seeds"], tuning["choice_seeds"]
    yield from ("## What was tuned on what", "")
    yield from (
        f"Every planner had {tuning['trials']} trials on each condition, on {count} problems from seed {first}. The winner",
        f"was selected from {_best(tuning['top'])} and the planner's own settings on {choice_count} problems from",
        f"seed {choice_first}. No test uses any of these problems. Every study begins with the planner's own settings; those",
        "that ship come from earlier tuning on seeds from 10000 upwards, and GRASP and GD had more of it than the others.",
        "Tests without a study use the settings of the nearest horizon.",
    )
    yield from ("", "| condition | planner | winner | tuning | choice | held out | settings that differ from the defaults |")
    yield "|---|---|---|---|---|---|---|"
    for one in facts["tuned"]:
        provenance = one["provenance"]
        settings = ", ".join(f"{key} {_short(value)}" for key, value in sorted(one["settings"].items()))
        rates = [provenance["tuning_success"], provenance["choice_success"], provenance["held_out_success"]]
        shown = " | ".join("-" if rate is None else f"{rate:.2f}" for rate in rates)
        yield f"| {_condition_text(facts, one)} | {one['planner']} | {provenance['winner']} | {shown} | {settings} |"
    yield ""


def _not_working(facts: Mapping[str, Any], own: Sequence[StudyPoint]) -> Iterator[str]:
    yield from ("## What did not work", "")
    kept = [one for one in facts["tuned"] if one["provenance"]["winner"] == "default"]
    poor = [one for one in own if one.planner == GRASP and (one.success.value or 0.0) < 0.5]
    errors = sum(one.failed for one in own)
    count = f"{len(kept)} of {len(facts['tuned'])}"
    yield f"- In {count} studies no trial beat the planner's own settings on the choice problems."
    if poor:
        rates = ", ".join(f"{condition_text(one)} ({one.success.value or 0.0:.2f})" for one in poor)
        yield f"- GRASP alone solves less than half of the problems of {rates}."
    yield f"- {errors} test cells with own budgets ended in an error, as did {facts['failed']} of all {facts['cells']} cells."
    yield ""
    if kept:
        yield from ("| planner | tasks and horizons where its own settings remained the best |", "|---|---|")
        for planner in dict.fromkeys(one["planner"] for one in kept):
            yield f"| {planner} | {', '.join(_condition_text(facts, one) for one in kept if one['planner'] == planner)} |"
        yield ""


def _machine(facts: Mapping[str, Any]) -> Iterator[str]:
    hours, (began, ended) = facts["hours"], facts["dates"]
    devices = "; ".join(facts["devices"])
    when = began if began == ended else f"{began} to {ended}"
    versions = "; ".join(", ".join(f"{name} {number}" for name, number in sorted(each.items())) for each in facts["versions"])
    models = ", ".join(f"{task}: {name} ({digest})" for task, (name, digest) in facts["models"].items())
    yield from ("## Machine, hours, versions", "")
    machine = f"{facts['machine']} ({devices})" if facts["machine"] else devices
    yield f"- machine: {machine}; threads per worker: {_comma_separated(facts['threads'])}"
    yield f"- planned {when}; worker hours: {hours['tuning']:.2f} on tuning problems, {hours['tests']:.2f} on test problems"
    yield f"- versions: {versions}"
    yield f"- revisions: {_comma_separated(facts['revisions'])}"
    yield f"- world models: {models}"
    yield ""


def _reproduction(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Repeating the study", "")
    yield from (
        "`make quality` (or `grasp quality`) runs whatever is missing and writes this page; `grasp quality --dry-run` says",
        "what that is. `grasp quality --from docs/planning-quality/results.parquet` makes page and figures from that file",
        "alone.",
    )


def _condition_text(facts: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """`push_t H50`, the task and horizon of a study."""
    condition = facts["places"][study["place"]]
    return f"{condition['task']} H{condition['horizon']}"


def _best(count: int) -> str:
    return "the best trial" if count == 1 else f"the best {count} trials"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _comma_separated(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
