"""Notes below a table: what its points mix, and how planners treat actions that are classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.core.cell import Point
from orchestrator.core.success import FINAL, FIRST_HIT, HOLD, REPLANS, SuccessRule
from planners import PLANNERS
from planners.search.search_planner import SearchSettings
from sweeps.analysis.rows import Row
from sweeps.config.grid import Entry
from world_models.datasets.problems.settings import OURS, REPLAYED
from world_models.precision import Arithmetic

FULL = Arithmetic("torch", "float32")


def notes_of(rows: Sequence[Row]) -> list[str]:
    """All notes on a table's rows, a line each."""
    entries = [row.entry for row in rows]
    return [
        *mixed_note(rows),
        *kernel_note(rows),
        *success_notes(entries),
        *model_notes(entries),
        *class_notes(entries),
        *problem_notes(entries),
    ]


def mixed_note(rows: Iterable[Row]) -> list[str]:
    """A line on what the points marked with a star mix; none if no point is marked."""
    words = list(dict.fromkeys(word for row in rows for word in row.mixed))
    return [f"*: not all cells of the point were computed with the same {'; '.join(words)}."] if words else []


def kernel_note(rows: Iterable[Row]) -> list[str]:
    """A line on models that torch computed in float32 although their planners allow rounding; none if there are none."""
    models = dict.fromkeys(row.model for row in rows if _allows_rounding(row.entry.point) and FULL in row.computed)
    if not models:
        return []
    names = ", ".join(Path(model).name for model in models)
    return [f"precision: no kernel was available for {names}, which torch computed in float32 although planners allow less."]


def _allows_rounding(point: Point) -> bool:
    return point.planner.as_dict().get("precision", "highest") != "highest"


def success_notes(entries: Iterable[Entry]) -> list[str]:
    """A line for each success rule and protocol that is not the default: what counts as success."""
    notes = []
    for point in (entry.point for entry in entries):
        if point.protocol or point.success != FINAL:
            who = f"protocol {point.protocol}" if point.protocol else f"success {point.success}"
            when = _RULE_WORDS[SuccessRule.of(point.success).kind](point)
            notes.append(f"{who}: a plan succeeds if its goal is reached {when}.")
    return list(dict.fromkeys(notes))


_RULE_WORDS: Mapping[str, Callable[[Point], str]] = {
    FINAL: lambda point: f"at the end of {point.horizon} steps",
    FIRST_HIT: lambda point: f"at any of {point.horizon} steps",
    REPLANS: lambda point: f"where one of its plans ends (mode {point.mode})",
    HOLD: lambda point: f"at {SuccessRule.of(point.success).steps} steps in a row, of {point.horizon}",
}


def model_notes(entries: Iterable[Entry]) -> list[str]:
    """A line for each task without a simulator."""
    tasks = dict.fromkeys(entry.task for entry in entries if entry.judged_in_model)
    return [
        f"{task}: no simulator, so success and distance are what the world model predicts; reference_actions, planned beside "
        "the others, shows how far it leads the recorded actions from the recorded goals."
        for task in tasks
    ]


def problem_notes(entries: Iterable[Entry]) -> list[str]:
    """A line for each dataset whose rows are the problems, and one for each model that was trained on them."""
    notes = []
    for entry in entries:
        problems, point = entry.point.problems, entry.point
        if problems is None:
            continue
        apart = "" if problems.manifest else f" {problems.distance(point.horizon)} steps apart, list {problems.seed},"
        which = "listed in a file" if problems.manifest else f"of {problems.split} episodes"
        which += "" if problems.calls == OURS else f", drawn by the random calls of {problems.calls}, {problems.rows} of them"
        which += ", goals replayed" if problems.goal == REPLAYED else ""
        notes.append(f"problems at H{point.horizon}: rows of {Path(problems.path).name} ({problems.digest}),{apart} {which}.")
        if entry.trained_on:
            notes.append(
                f"{point.model} was trained on {entry.trained_on} of the episodes that its problems are drawn from: its "
                "success is not that on new data."
            )
    return list(dict.fromkeys(notes))


def class_notes(entries: Iterable[Entry]) -> list[str]:
    """A line for each task whose actions are classes: which planners draw them, and which relax and round them."""
    planners: dict[tuple[str, int], dict[str, list[str]]] = {}
    for entry in entries:
        if entry.classes is not None:
            labels = planners.setdefault((entry.task, entry.classes), {}).setdefault(
                class_handling(entry.point.planner.name), []
            )
            labels += [entry.planner] if entry.planner not in labels else []
    notes = []
    for (task, count), found in planners.items():
        words = "; ".join(f"{how} by {', '.join(labels)}" for how, labels in found.items())
        notes.append(f"{task}: actions are {count} classes, {words}.")
    return notes


def class_handling(planner: str) -> str:
    """How a planner treats actions that are classes, in words, by its name."""
    kind = PLANNERS[planner][0] if planner in PLANNERS else None
    if kind is None or not issubclass(kind, SearchSettings):
        return "rounded after planning"
    return "drawn as classes" if kind.draws_classes else "relaxed and rounded"
