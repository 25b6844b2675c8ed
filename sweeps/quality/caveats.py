"""The sections of the planning-quality page on where its numbers come from, and what to be careful with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeps.analysis.comparison import Verdict
from sweeps.quality.spec import GRASP
from sweeps.quality.tables import MeasuredPoint, condition_text


def caveats(facts: Mapping[str, Any], own: Sequence[MeasuredPoint], equal: Sequence[MeasuredPoint]) -> Iterator[str]:
    """What was tuned on what, where baselines win, what did not work, machine, hours and versions, and how to repeat it."""
    yield from _tuned(facts)
    yield from _baselines([*own, *equal])
    yield from _not_working(facts, own)
    yield from _machine(facts)
    yield from _reproduction(facts)


def _tuned(facts: Mapping[str, Any]) -> Iterator[str]:
    tuning = facts["tuning"]
    (first, count), (choice_first, choice_count) = tuning["seeds"], tuning["choice_seeds"]
    yield from ("## What was tuned on what", "")
    yield from (
        f"Every planner had {tuning['trials']} trials at each place, on {count} problems from seed {first}. The best",
        f"{tuning['top']} and the planner's own settings were chosen among on {choice_count} problems from seed",
        f"{choice_first}. No test has any of these problems. Every study begins with the planner's own settings. Those of",
        "sweeps/conf/planner come from earlier tuning on seeds from 10000 on, of which GRASP and GD had more than the others.",
        "Tests without a study take the settings of the nearest horizon.",
    )
    yield from ("", "| place | planner | winner | tuned on | choice | held out | settings that differ from the defaults |")
    yield "|---|---|---|---|---|---|---|"
    for one in facts["tuned"]:
        provenance, condition = one["provenance"], facts["places"][one["place"]]
        settings = ", ".join(f"{key} {_short(value)}" for key, value in sorted(one["settings"].items()))
        rates = [provenance["tuning_success"], provenance["choice_success"], provenance["held_out_success"]]
        shown = " | ".join("-" if rate is None else f"{rate:.2f}" for rate in rates)
        where = f"{condition['task']} H{condition['horizon']}"
        yield f"| {where} | {one['planner']} | {provenance['winner']} | {shown} | {settings} |"
    yield ""


def _baselines(own: Sequence[MeasuredPoint]) -> Iterator[str]:
    """Points where others have the higher rate than GRASP, the certain ones first."""
    higher = [one for one in own if one.versus is not None and (one.versus.success.difference or 0.0) > 0]
    sure = [one for one in higher if one.versus is not None and one.versus.verdict is Verdict.BETTER]
    yield from ("## Where others do better than GRASP", "")
    if not higher:
        yield from ("Nowhere is another planner's rate above that of GRASP alone.", "")
        return
    yield f"Of {len(higher)} points where another's rate is above GRASP's, {len(sure)} are certain (*better*):"
    yield ""
    for one in [*sure, *(one for one in higher if one not in sure)]:
        assert one.versus is not None
        yield f"- {condition_text(one)}: {one.planner} {one.versus.success.difference:+.2f}, {one.versus.verdict.value}"
    yield ""


def _not_working(facts: Mapping[str, Any], own: Sequence[MeasuredPoint]) -> Iterator[str]:
    yield from ("## What did not work", "")
    kept = [one for one in facts["tuned"] if one["provenance"]["winner"] == "default"]
    poor = [one for one in own if one.planner == GRASP and (one.success.value or 0.0) < 0.5]
    errors = sum(one.failed for one in own)
    conditions = ", ".join(f"{one['planner']} at {one['place']}" for one in kept)
    which = f": {conditions}" if kept else ""
    count = f"{len(kept)} of {len(facts['tuned'])}"
    yield f"- In {count} studies no trial beat the planner's own settings on the choice problems{which}."
    if poor:
        rates = ", ".join(f"{condition_text(one)} ({one.success.value or 0.0:.2f})" for one in poor)
        yield f"- GRASP alone solves less than half of {rates}."
    yield f"- {errors} test cells with own budgets ended in an error, and {facts['failed']} of all {facts['cells']} cells."
    yield ""


def _machine(facts: Mapping[str, Any]) -> Iterator[str]:
    hours, (began, ended) = facts["hours"], facts["dates"]
    devices = "; ".join(facts["devices"])
    when = began if began == ended else f"{began} to {ended}"
    versions = "; ".join(", ".join(f"{name} {number}" for name, number in sorted(each.items())) for each in facts["versions"])
    models = ", ".join(f"{task}: {name} ({digest})" for task, (name, digest) in facts["models"].items())
    yield from ("## Machine, hours, versions", "")
    machine = f"{facts['machine']} ({devices})" if facts["machine"] else devices
    yield f"- machine: {machine}; threads a worker: {_comma_separated(facts['threads'])}"
    yield f"- planned {when}; worker hours: {hours['tuning']:.2f} on tuning problems, {hours['tests']:.2f} on test problems"
    yield f"- versions: {versions}"
    yield f"- revisions: {_comma_separated(facts['revisions'])}"
    yield f"- world models: {models}"
    yield ""


def _reproduction(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Again", "")
    yield from (
        "`make quality` (or `grasp quality`) runs what is lacking and writes this page; `grasp quality --dry-run` says what",
        "that would be. `grasp quality --from docs/planning-quality/results.parquet` makes page and figures from them alone.",
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _comma_separated(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
