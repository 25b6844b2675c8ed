"""Published success rates, each with the protocol and solver that it is of."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.evaluation.wilson_interval import wilson

SWM_DOCS = "documentation of stable-worldmodel (2026-08)"
DINO_WM_PAPER = "arXiv 2411.04983"
CLEAR = "CLEAR-LeWM v0.5, seeds 0, 1 and 42"
GRASP_README = "README of le-wm-grasp"


@dataclass(frozen=True)
class Figure:
    """A published success rate of a kind of model on a task, under a protocol, with a solver."""

    protocol: str
    kind: str
    """Kind of checkpoint, as `grasp models inspect` names it."""
    task: str
    planner: str
    """The solver, or `random_actions` for the floor, whatever the kind."""
    rate: float
    trials: int
    source: str

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, which few of the sources give."""
        return wilson(self.rate * self.trials, self.trials)


FIGURES: tuple[Figure, ...] = (
    Figure("lewm", "lewm", "push_t_upstream", "cem_swm", 0.96, 50, SWM_DOCS),
    Figure("lewm", "lewm", "two_room", "cem_swm", 0.87, 50, SWM_DOCS),
    Figure("lewm", "pldm", "push_t_upstream", "cem_swm", 0.78, 50, SWM_DOCS),
    Figure("lewm", "pldm", "two_room", "cem_swm", 0.97, 50, SWM_DOCS),
    Figure("lewm", "prejepa", "push_t_upstream", "cem_swm", 0.74, 50, SWM_DOCS),
    Figure("lewm", "prejepa", "two_room", "cem_swm", 1.00, 50, SWM_DOCS),
    Figure("lewm", "", "push_t_upstream", "random_actions", 0.02, 50, SWM_DOCS),
    Figure("lewm", "", "two_room", "random_actions", 0.00, 50, SWM_DOCS),
    Figure("dino_wm", "dino-wm", "push_t_upstream", "cem_dino", 0.90, 50, DINO_WM_PAPER),
    Figure("grasp_75", "lewm", "push_t_upstream", "grasp_author_cem", 0.46, 50, GRASP_README),
    Figure("grasp_75", "lewm", "push_t_upstream", "cem_swm", 0.22, 50, GRASP_README),
    Figure("clear_moderate", "lewm", "push_t_upstream", "cem_swm", 0.8633, 300, CLEAR),
    Figure("clear_moderate", "", "push_t_upstream", "random_actions", 0.04, 300, CLEAR),
    Figure("clear_strict", "lewm", "push_t_upstream", "cem_swm", 0.7033, 300, CLEAR),
    Figure("clear_strict", "", "push_t_upstream", "random_actions", 0.05, 300, CLEAR),
)
"""All that `grasp reproduce` compares with. Trials are the episodes behind a rate, 50 where a source does not say."""


def figures_of(protocol: str, kind: str, task: str) -> list[Figure]:
    """The figures of a protocol for a kind of checkpoint on a task, solvers first, then the floor."""
    found = [each for each in FIGURES if (each.protocol, each.task) == (protocol, task) and each.kind in (kind, "")]
    return sorted(found, key=lambda each: each.kind == "")
