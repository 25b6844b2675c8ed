"""docs/planning-quality.md, written from the results file and the notes in worst.yaml and remarks.md, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.quality import results as results_file
from sweeps.quality.caveats import caveats
from sweeps.quality.opening import by_condition, opening
from sweeps.quality.results import Results
from sweeps.quality.sweeps import ABLATION, EQUAL, MPC, OWN, TIME_CAPPED
from sweeps.quality.tables import (
    StudyPoint,
    condition_text,
    measured_points,
    points_of_part,
    shown_failures,
    targets,
    versus_text,
)
from sweeps.reports.tables import fields_of
from world_models.errors import UserError, require
from world_models.files.writing import write_file
from world_models.files.yaml_reading import load_yaml

PAGE, ASSETS, FAILURE_NOTES, REMARKS = "planning-quality.md", "planning-quality", "worst.yaml", "remarks.md"
"""The page, the folder next to it with figures, animations and results, and the two files in it that are written by hand: a
sentence on each failure shown, and a section that follows the targets."""
TIME_CAPPED_TEXT = (
    "`grasp_hurried_by_NAME` is tuned GRASP limited to the seconds per problem that a target allows: a share of what NAME "
    "takes with its own budget. It may make as many attempts as fit."
)
UNSEEN = "not looked at yet"
READING = (
    "Success is judged by the final state in the simulator, on held-out problems, and given with Wilson's 95 % interval.",
    "The column *vs grasp* is the difference in success from GRASP on the same problems, with a 95 % interval. It is called",
    "*better* or *worse* where the p-value of McNemar's exact test, adjusted for all comparisons in the table (Benjamini and",
    "Hochberg), is at most 0.05, and *unclear* everywhere else. Seconds are means over all problems, solved or not.",
)
ALT = {
    "success": "success against the horizon, by planner and task",
    "seconds": "success against planning seconds",
    "growth": "planning seconds against the horizon",
    "model": "success in the world model and in the simulator",
    "sensitivity": "heat maps of GRASP's success by goal weight and noise",
}


@dataclass(frozen=True)
class HandWrittenNotes:
    """Notes that people wrote about the results."""

    failures: Mapping[str, str]
    """Sentences on cells, by cell id."""
    remarks: str = ""
    """Markdown that follows the targets, with a heading of its own."""


def build(results: Results, folder: Path) -> Path:
    """Write page, figures and results to a folder and return the page's path; the same results give the same bytes.

    UserError if the folder cannot be written to or worst.yaml is not a list of sentences.
    """
    from sweeps.quality import figures as quality_figures  # matplotlib, only where a picture is drawn

    assets = folder / ASSETS
    try:
        assets.mkdir(parents=True, exist_ok=True)
        results_file.write(results, assets / results_file.RESULTS)
        results = results_file.read(assets / results_file.RESULTS)  # the page is made from what others will have
        points = measured_points(results)
        figures = quality_figures.draw(points, results.facts, assets)
        animations = {file.stem for file in assets.glob("*.gif")}
        notes = HandWrittenNotes(read_notes(assets / FAILURE_NOTES), _text(assets / REMARKS))
        text = page(results, points, [file.stem for file in figures], notes, animations)
        write_file(folder / PAGE, text)
    except OSError as error:
        raise UserError(f"cannot write the page to {folder} ({error.strerror}): choose another with page=FOLDER.") from error
    return folder / PAGE


def read_notes(file: Path) -> dict[str, str]:
    """Hand-written sentences on cells, by cell id; empty without the file.

    UserError if the file holds anything but sentences.
    """
    if not file.exists():
        return {}
    raw: Any = load_yaml(file, "file of notes") or {}
    sound = isinstance(raw, dict) and all(isinstance(text, str) for text in raw.values())
    require(sound, f"{file} is not a list of sentences: write one line CELL_ID: sentence per cell.")
    return {str(key): value for key, value in raw.items()}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def page(
    results: Results, points: Sequence[StudyPoint], figures: Sequence[str], notes: HandWrittenNotes, animations: set[str]
) -> str:
    """The page's text, in Markdown."""
    facts = results.facts
    own, equal, mpc = (points_of_part(points, part) for part in (OWN, EQUAL, MPC))
    lines = ["# Planning quality", "", *opening(own, equal)]
    if facts["variant"] != "full":
        lines += [
            f"This is the `{facts['variant']}` variant: it shows that every stage works, and its numbers mean nothing.",
            "",
        ]
    lines += [
        *READING,
        "",
        *_figure(figures, "success"),
        *_targets(points, facts),
        *([notes.remarks, ""] if notes.remarks else []),
        *_section("Own budgets", "Every planner with settings tuned by the same number of trials, executed in open loop.", own),
        *_section("Equal seconds", _equal_seconds_text(facts), equal),
        *_section("GRASP in a share of another's seconds", TIME_CAPPED_TEXT, points_of_part(points, TIME_CAPPED)),
        *_section("Replanned (MPC)", "`mpc:K` replans after every K environment steps.", mpc),
        *_resource_use(own, figures),
        *_model(own, figures),
        *_ablation(points_of_part(points, ABLATION), facts),
        *_sensitivity(figures),
        *_claims(facts),
        *_shown_failures(points, facts, notes.failures, animations),
        *by_condition(own, equal),
        *caveats(facts, own),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _figure(figures: Sequence[str], name: str) -> list[str]:
    return [f"![{ALT[name]}]({ASSETS}/{name}.png)", ""] if name in figures else []


def _targets(points: Sequence[StudyPoint], facts: Mapping[str, Any]) -> Iterator[str]:
    found = targets(points, facts)
    if not found:
        return
    yield from (
        "## Targets",
        "",
        f"The rates are those of the best of our planners ({', '.join(facts['ours'])}) on held-out problems. Taking the",
    )
    yield from (
        "best of several flatters them a little; the tables below show each planner.",
        "",
        "| target | measured | |",
        "|---|---|---|",
    )
    for one in found:
        yield f"| {one.requirement} | {one.measured} | {'met' if one.met else '**missed**'} |"
    yield ""


def _equal_seconds_text(facts: Mapping[str, Any]) -> str:
    return (
        "Every other planner (`NAME_timed`, with its tuned settings) gets tuned GRASP's mean seconds per problem at that task "
        "and horizon as `max_seconds`, and no limit on evaluations. A planner that knows what counts as reached may make up to "
        f"{facts['timed_attempts']} attempts until the seconds are spent. An iteration that has begun is finished, so a "
        "plan may exceed the limit; s/plan shows the seconds that were spent."
    )


def _section(title: str, words: str, points: Sequence[StudyPoint]) -> Iterator[str]:
    if not points:
        return
    yield from (f"## {title}", "", words, "")
    yield from ("| task | H | planner | success | n | vs grasp | distance | s/plan |", "|---|---|---|---|---|---|---|---|")
    for one in points:
        failed = f" ({one.failed} failed)" if one.failed else ""
        yield (
            f"| {one.task} | {_horizon(one)} | {one.planner} | {one.success.text} | {one.success.trials}{failed} "
            f"| {versus_text(one)} | {fields_of(one)['distance']} | {_number(one.plan_seconds)} |"
        )
    yield ""


def _resource_use(own: Sequence[StudyPoint], figures: Sequence[str]) -> Iterator[str]:
    yield from (
        "## Seconds and model evaluations",
        "",
        "Seconds of the successes alone flatter a planner that rarely succeeds: read them with the seconds of all problems.",
        "A problem planned in a batch is charged its share of the batch's time.",
        "",
    )
    yield from _figure(figures, "seconds")
    yield from ("| task | H | planner | s/plan, all | s/plan, solved | model steps |", "|---|---|---|---|---|---|")
    for one in own:
        steps = "-" if one.evaluations is None else f"{one.evaluations:.0f}"
        seconds = f"{_number(one.plan_seconds)} | {_number(one.solved_seconds)}"
        yield f"| {one.task} | {one.horizon} | {one.planner} | {seconds} | {steps} |"
    yield ""
    yield from _figure(figures, "growth")


def _model(own: Sequence[StudyPoint], figures: Sequence[str]) -> Iterator[str]:
    yield from (
        "## In the model and in the simulator",
        "",
        "Where the model predicts more success than the simulator shows, plans exploit the model's errors, and no planner can",
        "fix that.",
        "",
    )
    yield from _figure(figures, "model")
    yield from ("| task | H | planner | in the model | in the simulator | lost |", "|---|---|---|---|---|---|")
    for one in own:
        if one.in_model.value is not None and one.success.value is not None:
            lost = one.in_model.value - one.success.value
            rates = f"{one.in_model.value:.2f} | {one.success.value:.2f} | {lost:+.2f}"
            yield f"| {one.task} | {one.horizon} | {one.planner} | {rates} |"
    yield ""


def _ablation(points: Sequence[StudyPoint], facts: Mapping[str, Any]) -> Iterator[str]:
    if not points:
        return
    yield from (
        "## What GRASP needs",
        "",
        "Tuned GRASP with one thing changed and everything else as tuned, on the same problems.",
        "",
    )
    for name, settings in facts["changes"].items():
        yield f"- `{name}`: {', '.join(f'{key} {value}' for key, value in settings.items())}"
    yield from (
        "",
        "| task | H | planner | success | n | vs grasp | s/plan | model steps |",
        "|---|---|---|---|---|---|---|---|",
    )
    for one in points:
        steps = "-" if one.evaluations is None else f"{one.evaluations:.0f}"
        yield (
            f"| {one.task} | {one.horizon} | {one.planner} | {one.success.text} | {one.success.trials} "
            f"| {versus_text(one)} | {_number(one.plan_seconds)} | {steps} |"
        )
    yield ""


def _sensitivity(figures: Sequence[str]) -> Iterator[str]:
    if "sensitivity" in figures:
        yield from (
            "## Sensitivity",
            "",
            "GRASP with the tuned goal weight (gamma) and noise (sigma) multiplied by factors.",
            "",
        )
        yield from _figure(figures, "sensitivity")


def _claims(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts["claims"]:
        return
    yield from (
        "## GRASP's claims",
        "",
        "The claims as `grasp diagnose` measures them; [diagnose.md](diagnose.md) states the rules.",
        "",
    )
    yield from ("| task | claim | verdict | measured |", "|---|---|---|---|")
    for task, claims in facts["claims"].items():
        for one in claims:
            yield f"| {task} | {_cell(one['claim'])} | **{one['verdict']}** | {_cell(one['measured'])} |"
    yield ""


def _shown_failures(
    points: Sequence[StudyPoint], facts: Mapping[str, Any], notes: Mapping[str, str], animations: set[str]
) -> Iterator[str]:
    found = shown_failures(points, facts)
    labels = " and ".join(facts["worst"][0])
    yield from (
        "## Failures looked at",
        "",
        f"From each point of {labels} comes the failed plan that ended farthest from the goal; shown are those with the",
        "largest ratio of the distance at the end to the distance at the start.",
        "",
    )
    if not found:
        yield from ("No plan missed.", "")
    for one, at in found:
        cell, seed = one.ids[at], int(one.cells.seed[at])
        far = f"{one.cells.distance[at]:.3g} of {one.cells.start_distance[at]:.3g} {one.unit} left"
        yield f"- {condition_text(one)}, {one.planner}, seed {seed} (`{cell}`), {far}: {notes.get(cell, UNSEEN)}"
        if cell in animations:
            yield from ("", f"    ![{condition_text(one)}, seed {seed}]({ASSETS}/{cell}.gif)", "")
    yield ""


def _horizon(one: StudyPoint) -> str:
    return condition_text(one).split(" ", 1)[1].removeprefix("H")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
