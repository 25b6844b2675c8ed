"""Numbers of the planning-quality page: points with rates and paired, adjusted verdicts, from the results table alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.core.modes import OPEN_LOOP
from sweeps.analysis.comparison import Verdict, adjust, compare_cells
from sweeps.analysis.point_cells import cells_in
from sweeps.analysis.rows import MeasuredPoint
from sweeps.quality.results import Results
from sweeps.quality.spec import GRASP
from sweeps.quality.sweeps import MPC, OWN, TIME_CAPPED, time_capped_label

Key = tuple[str, str, int, str, str]
"""Part, task, horizon, mode, planner."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyPoint(MeasuredPoint):
    """A measured point in one part of the study; `versus` compares it with GRASP."""

    part: str
    ids: Sequence[str]
    """Cell ids, in the order of `cells`."""


@dataclass(frozen=True)
class Target:
    """A target, the measurement, and whether it is met."""

    requirement: str
    measured: str
    met: bool


@dataclass(frozen=True)
class VerdictGroups:
    """The other planners' points in one part of the study, by how GRASP alone compares with them."""

    better: tuple[StudyPoint, ...]
    """Points that GRASP beats."""
    worse: tuple[StudyPoint, ...]
    """Points that beat GRASP."""
    unclear: tuple[StudyPoint, ...]


def measured_points(results: Results) -> list[StudyPoint]:
    """All points, in the order of tasks, horizons and planners of the config; verdicts adjusted within each part."""
    table, facts = results.table, results.facts
    names = ("part", "task", "horizon", "mode", "planner")
    columns = [table[name].to_pylist() for name in names]
    rows: dict[Key, list[int]] = {}
    for i, key in enumerate(zip(*columns, strict=True)):
        rows.setdefault(key, []).append(i)
    found = {key: _measured(key, table.take(pa.array(at)), facts["models"][key[1]][0]) for key, at in rows.items()}
    order = {label: number for number, label in enumerate([*facts["planners"], *facts["changes"], *facts["factors"]])}
    tasks = list(dict.fromkeys([condition["task"] for condition in facts["places"].values()] + columns[1]))
    ordered = sorted(
        found.values(),
        key=lambda one: (
            one.part,
            tasks.index(one.task),
            one.horizon,
            one.mode,
            order.get(planner_of_variant(one.planner), len(order)),
            one.planner,
        ),
    )
    return [each for part in dict.fromkeys(one.part for one in ordered) for each in _compared(ordered, part)]


def planner_of_variant(label: str) -> str:
    """The planner's label, without the suffix that a variant with limited seconds has."""
    return label.removesuffix("_timed")


def _measured(key: Key, rows: pa.Table, model: str) -> StudyPoint:
    part, task, horizon, mode, planner = key
    return StudyPoint(
        part=part,
        task=task,
        model=model,
        horizon=horizon,
        mode=mode,
        planner=planner,
        unit=rows["unit"][0].as_py(),
        cells=cells_in(rows),
        ids=rows["cell_id"].to_pylist(),
    )


def _compared(every: Sequence[StudyPoint], part: str) -> list[StudyPoint]:
    """The part's points, each compared with GRASP's on the same problems."""
    mine = [one for one in every if one.part == part]
    grasp = {(one.task, one.horizon, one.mode): one for one in mine if one.planner == GRASP}
    with_one = [one for one in mine if one.planner != GRASP and (one.task, one.horizon, one.mode) in grasp]
    fair = adjust([compare_cells(one.cells, grasp[(one.task, one.horizon, one.mode)].cells) for one in with_one])
    verdicts = dict(zip(map(id, with_one), fair, strict=True))
    return [replace(one, versus=verdicts.get(id(one))) for one in mine]


def points_of_part(points: Sequence[StudyPoint], part: str) -> list[StudyPoint]:
    """The points of one part."""
    return [one for one in points if one.part == part]


def group_by_verdict(points: Sequence[StudyPoint]) -> VerdictGroups:
    """Group the points of one part that are compared with GRASP."""
    by: dict[Verdict, list[StudyPoint]] = {verdict: [] for verdict in Verdict}
    for one in points:
        if one.versus is not None and one.versus.success.pairs:
            by[one.versus.verdict].append(one)
    return VerdictGroups(*(tuple(by[verdict]) for verdict in (Verdict.WORSE, Verdict.BETTER, Verdict.UNCLEAR)))


def targets(points: Sequence[StudyPoint], facts: Mapping[str, Any]) -> list[Target]:
    """The targets, met or missed, by the measured rates."""
    found = []
    for target in facts["aims"]["targets"]:
        part = OWN if target["mode"] == OPEN_LOOP else MPC
        here = [
            one
            for one in points
            if (one.part, one.task, one.horizon, one.mode) == (part, target["task"], target["horizon"], target["mode"])
        ]
        ours = [one for one in here if one.planner in facts["ours"] and one.success.trials]
        way = "" if target["mode"] == OPEN_LOOP else f", {target['mode']}"
        requirement = f"{target['task']} H{target['horizon']}{way}: at least {target['at_least']:.2f}"
        best = max(ours, key=lambda one: one.success.value or 0.0, default=None)
        if best is None:
            found.append(Target(requirement, "not measured", False))
            continue
        met = (best.success.value or 0.0) >= target["at_least"]
        found.append(Target(requirement, f"{best.planner} {best.success.text}, n {best.success.trials}", met))
    return found + [_faster(points, target) for target in facts["aims"]["faster"]]


def _faster(points: Sequence[StudyPoint], target: Mapping[str, Any]) -> Target:
    """A target that GRASP meets with its own budget, or within the share of the seconds that it was given."""
    requirement = (
        f"{target['task']} H{target['horizon']}: grasp alone at least {target['than']}'s success "
        f"in {target['share']:g} of its seconds"
    )
    here = {(one.part, one.planner): one for one in points if (one.task, one.horizon) == (target["task"], target["horizon"])}
    other = here.get((OWN, target["than"]))
    candidates = [here.get((OWN, GRASP)), here.get((TIME_CAPPED, time_capped_label(target["than"])))]
    known = [one for one in candidates if one is not None and one.success.value is not None and one.plan_seconds]
    if other is None or other.success.value is None or not other.plan_seconds or not known:
        return Target(requirement, "not measured", False)
    found = []
    for one in known:
        share, rate = (one.plan_seconds or 0.0) / other.plan_seconds, one.success.value or 0.0
        said = f"{one.planner} {rate:.2f} against {other.success.value:.2f}, in {share:.2f} of the seconds"
        found.append(Target(requirement, said, rate >= other.success.value and share <= target["share"]))
    return next((one for one in found if one.met), found[-1])


def shown_failures(points: Sequence[StudyPoint], facts: Mapping[str, Any]) -> list[tuple[StudyPoint, int]]:
    """The failures to show: of each point of the named planners the failed plan that ended farthest from the goal, and of these
    the ones that ended farthest relative to their start."""
    labels, count = facts["worst"]
    found = []
    for one in points_of_part(points, OWN):
        if one.planner in labels:
            far = np.where(one.cells.ran, np.nan_to_num(one.cells.distance, nan=-1.0), -1.0)
            at = len(far) - 1 - int(np.argmax(far[::-1]))  # of equal distances the higher seed: the one that is drawn
            start = one.cells.start_distance[at]
            if far[at] >= 0 and not one.cells.success[at] and start > 0:
                found.append((far[at] / start, one, at))
    found.sort(key=lambda each: (-each[0], each[1].task, each[1].horizon, each[1].planner))
    return [(one, at) for _, one, at in found[:count]]


def versus_text(one: MeasuredPoint) -> str:
    """The paired difference from GRASP, its interval and verdict; empty without one."""
    if one.versus is None or one.versus.success.difference is None:
        return ""
    low, high = one.versus.success.interval
    return f"{one.versus.success.difference:+.2f} [{low:+.2f}, {high:+.2f}] {one.versus.verdict.value}"


def condition_text(one: MeasuredPoint) -> str:
    """`push_t H50`, with the mode where it is not open loop."""
    return f"{one.task} H{one.horizon}{'' if one.mode == OPEN_LOOP else f' {one.mode}'}"
