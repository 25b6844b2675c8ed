"""Pruning of trials by racing: each is compared with the leader on the instances that both have seen.

Optuna's WilcoxonPruner compares with the best complete trial, so it prunes none of a wave of trials that begin together. Here
the leader may itself be running (racing: Maron and Moore 1994, Birattari et al. 2002).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from world_models.errors import require


@dataclass(frozen=True)
class Pruning:
    """When a trial is pruned: by a Wilcoxon signed-rank test against the leader, instance by instance."""

    enabled: bool = True
    p_value: float = 0.15
    warm_up: int = 8
    """Instances before anything is pruned."""

    def __post_init__(self) -> None:
        require(
            0 < self.p_value < 1,
            f"pruning.p_value {self.p_value} is not a valid probability: give one between 0 and 1, e.g. 0.1.",
        )
        require(self.warm_up >= 2, f"pruning.warm_up {self.warm_up} is too few to compare: give at least 2.")

    def applies_to(self, objectives: int) -> bool:
        """Whether trials of a study with so many objectives may be pruned: with several, neither of two need be worse."""
        return self.enabled and objectives == 1


class RacePruner(BasePruner):
    """Prunes a trial that is worse than the leader; the trial with the best mean so far is never pruned.

    For trials that see the same instances in the same order, each reported once as a finite number.
    """

    def __init__(self, pruning: Pruning) -> None:
        self._pruning = pruning

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial is probably worse than the leader."""
        mine = trial.intermediate_values
        if len(mine) < self._pruning.warm_up:
            return False
        # From here on values are costs: less is better.
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        rivals = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        leader = leader_of(mine, (rival for rival in rivals if rival.number != trial.number), sign)
        if leader is None:
            return False
        theirs = leader.intermediate_values
        mean = sign * fmean(mine.values())
        if sign * fmean(theirs.values()) >= mean:
            # Over all its instances the leader is no better: it only had the easier ones so far.
            return False
        steps = sorted(mine)
        gaps = np.array([sign * (mine[step] - theirs[step]) for step in steps])
        return bool(worse(gaps) < self._pruning.p_value)


def beaten(mine: Mapping[int, float], best: Mapping[int, float], larger: bool, pruning: Pruning) -> bool:
    """Whether a finished trial is probably worse than the best one, which may not have been known while it ran."""
    common = sorted(mine.keys() & best.keys())
    if not pruning.enabled or len(common) < pruning.warm_up:
        return False
    gaps = np.array([mine[step] - best[step] for step in common])
    return bool(worse(-gaps if larger else gaps) < pruning.p_value)


def leader_of(mine: Mapping[int, float], rivals: Iterable[FrozenTrial], sign: float) -> FrozenTrial | None:
    """The rival with the best mean over the instances of `mine`, among those that have seen them all; None if none has."""
    comparable = [rival for rival in rivals if mine.keys() <= rival.intermediate_values.keys()]
    return min(comparable, key=lambda rival: sign * fmean(rival.intermediate_values[step] for step in mine), default=None)


def worse(gaps: np.ndarray) -> float:
    """P-value of the one-sided signed-rank test (Wilcoxon 1945) that costs with these gaps are no worse."""
    if not gaps.any():
        return 1.0
    _, p_value = stats.wilcoxon(gaps, alternative="greater", zero_method="zsplit")
    return float(p_value)  # pyright: ignore[reportArgumentType]
