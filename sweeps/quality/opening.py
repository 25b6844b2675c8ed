"""Counts of GRASP's comparisons on the planning-quality page: its opening, and the table of every condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.quality.tables import StudyPoint, condition_text, group_by_verdict, planner_of_variant

BY_CONDITION = "Comparisons by condition"
OWN_BUDGETS, EQUAL_SECONDS = "own budgets", "equal seconds"


def opening(own: Sequence[StudyPoint], equal: Sequence[StudyPoint]) -> Iterator[str]:
    """Sentences on how often GRASP alone wins and loses by the adjusted verdicts, and the same counted by planner."""
    parts = [(OWN_BUDGETS, own), *([(EQUAL_SECONDS, equal)] if equal else [])]
    for name, points in parts:
        yield _sentence(f"Within {name}" if name == EQUAL_SECONDS else f"With {name}", points)
    anchor = BY_CONDITION.lower().replace(" ", "-")
    yield f"The table counts these comparisons by planner; [{BY_CONDITION}](#{anchor}) lists them."
    yield ""
    yield "| GRASP against | " + " | ".join(f"{name}: GRASP better | worse | unclear" for name, _ in parts) + " |"
    yield "|---" * (1 + 3 * len(parts)) + "|"
    compared = (one.planner for _, points in parts for one in points if one.versus is not None)
    for planner in dict.fromkeys(map(planner_of_variant, compared)):
        counts = [str(count) for _, points in parts for count in _counts(planner, points)]
        yield f"| {planner} | {' | '.join(counts)} |"
    yield ""


def by_condition(own: Sequence[StudyPoint], equal: Sequence[StudyPoint]) -> Iterator[str]:
    """A table of the planners that GRASP alone beats, loses to, or trails without certainty, by task and horizon."""
    yield from (f"## {BY_CONDITION}", "")
    higher = [one for one in [*own, *equal] if _difference(one) > 0]
    sure = group_by_verdict(higher).worse
    yield f"Another planner's rate is above that of GRASP alone in {len(higher)} comparisons, and certainly so in {len(sure)}."
    yield "Numbers are differences from GRASP's success rate; *higher, but unclear* differences may be chance."
    yield ""
    yield from (
        "| condition | budget | GRASP is worse than | GRASP is better than | higher, but unclear |",
        "|---|---|---|---|---|",
    )
    for name, points in ((OWN_BUDGETS, own), (EQUAL_SECONDS, equal)):
        compared = [one for one in points if one.versus is not None]
        for condition in dict.fromkeys(map(condition_text, compared)):
            groups = group_by_verdict([one for one in compared if condition_text(one) == condition])
            unclear = [one for one in groups.unclear if _difference(one) > 0]
            if groups.worse or groups.better or unclear:
                cells = " | ".join(_planners(group) for group in (groups.worse, groups.better, unclear))
                yield f"| {condition} | {name} | {cells} |"
    yield ""


def _sentence(when: str, points: Sequence[StudyPoint]) -> str:
    groups = group_by_verdict(points)
    every = len(groups.better) + len(groups.worse) + len(groups.unclear)
    if not every:
        return f"{when}, nothing can be compared with GRASP."
    return (
        f"{when}, GRASP alone succeeds more often than another planner in {len(groups.better)} of {every} comparisons and "
        f"less often in {len(groups.worse)}; in {len(groups.unclear)} the difference is unclear."
    )


def _counts(planner: str, points: Sequence[StudyPoint]) -> tuple[int, int, int]:
    """Numbers of comparisons with the planner in which GRASP is better, in which it is worse, and which are unclear."""
    groups = group_by_verdict([one for one in points if planner_of_variant(one.planner) == planner])
    return len(groups.better), len(groups.worse), len(groups.unclear)


def _planners(points: Sequence[StudyPoint]) -> str:
    """Planners with their differences, such as `cem +0.25, gd +0.12`, or a dash."""
    return ", ".join(f"{planner_of_variant(one.planner)} {_difference(one):+.2f}" for one in points) or "-"


def _difference(one: StudyPoint) -> float:
    """The planner's success rate minus GRASP's on the same problems, 0 where nothing can be compared."""
    return 0.0 if one.versus is None or one.versus.success.difference is None else one.versus.success.difference
