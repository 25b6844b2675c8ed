"""A winner's settings with fewer digits, which are used if they succeed alike on the held-out seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context

from orchestrator.core.cell import Scalar
from orchestrator.ledger.ledger import Ledger
from orchestrator.tuning.search_space import Range, Space
from sweeps.tuning.spec import StudySpec
from sweeps.tuning.verdict import ROUNDING_MARGIN, Rounded, Standing, Verdict, cells_of, judged_on, paired_on, points_of
from world_models.errors import UserError

RoundedSettings = Mapping[str, Mapping[str, Scalar]]
"""Rounded settings, by label of the candidate that they come from."""


def label_of(candidate: str) -> str:
    """Label of a candidate's rounded settings."""
    return f"{candidate} rounded"


def rounded_settings(space: Space, settings: Mapping[str, Scalar], digits: int) -> dict[str, Scalar]:
    """Settings rounded to `digits` significant digits within the space's ranges; whole numbers and options are unchanged."""
    ranges = {dimension.name: dimension for dimension in space.dimensions if isinstance(dimension, Range)}
    return {
        name: _rounded(value, ranges[name], digits) if name in ranges and isinstance(value, float) else value
        for name, value in settings.items()
    }


def _rounded(value: float, dimension: Range, digits: int) -> float:
    """The nearest number of `digits` digits within the range; the value itself if both neighbours are outside."""
    for mode in (ROUND_HALF_EVEN, ROUND_CEILING, ROUND_FLOOR):
        found = float(Context(prec=digits, rounding=mode).create_decimal_from_float(value))
        if dimension.holds(found):
            return found
    return value


def to_round(spec: StudySpec, verdict: Verdict) -> dict[str, dict[str, Scalar]]:
    """Rounded settings of the winner, or of the whole front for several objectives, if they differ and do not conflict."""
    if spec.digits is None:
        return {}
    standings = verdict.standings if len(spec.definition.objectives) > 1 else (verdict.winner,)
    found = {}
    for standing in standings:
        settings = rounded_settings(spec.space, standing.settings, spec.digits)
        if standing.trial is not None and settings != standing.settings and _fits(spec, settings):
            found[standing.label] = settings
    return found


def _fits(spec: StudySpec, settings: Mapping[str, Scalar]) -> bool:
    try:
        spec.points(settings)
    except UserError:
        return False
    return True


def with_rounded(spec: StudySpec, ledger: Ledger, verdict: Verdict, rounded: RoundedSettings) -> Verdict:
    """The verdict with the results of rounded settings on the held-out seeds; UserError if the ledger lacks cells."""
    seeds = spec.seed_split.held_out
    labelled = {label_of(label): settings for label, settings in rounded.items()}
    grid = spec.candidates(spec.name, {**{each.label: each.settings for each in verdict.standings}, **labelled}, seeds)
    cells, own = cells_of(grid, ledger), points_of(spec, {})

    def judged(standing: Standing) -> Standing:
        if standing.label not in rounded or spec.digits is None:
            return standing
        settings = rounded[standing.label]
        points = points_of(spec, settings)
        held_out = judged_on(cells, points, own, seeds, spec.plan.join)
        if held_out is None:
            raise UserError(f"study {spec.name} is not fully judged yet: run the same command again.")
        versus = paired_on(cells, points, points_of(spec, standing.settings), seeds)
        return replace(standing, rounded=Rounded(spec.digits, settings, held_out, versus))

    return replace(verdict, standings=tuple(judged(standing) for standing in verdict.standings))


def rounding_words(digits: int, alike: bool, rounded: float, unrounded: float, p_value: float) -> str:
    """The result of rounding in a sentence, with held-out rates."""
    rates = f"{rounded:.2f} against {unrounded:.2f} on held-out seeds"
    if alike:
        return f"Rounded to {digits} digits they succeed alike ({rates}), so the rounded settings are used."
    return (
        f"All digits are kept: rounded to {digits} they succeed less often ({rates}, p {p_value:.2g}; alike means not "
        f"significantly less, and at most {ROUNDING_MARGIN:g} less)."
    )
