"""How the problems of a sweep are drawn from a recorded dataset."""

from __future__ import annotations

from dataclasses import dataclass

ALL, TRAINING, VALIDATION = "all", "training", "validation"
SPLITS = (VALIDATION, TRAINING, ALL)
"""Episodes to draw from: those that training leaves out, those that it learns from, or all."""

OURS, SWM, SWM_BEFORE, DINO_WM = "ours", "swm", "swm_before_2026_07", "dino_wm"
CALLS = (OURS, SWM, SWM_BEFORE, DINO_WM)
"""Whose random calls draw the list: ours, which can be lengthened without changing it, or those of a published evaluation."""
RECORDED, REPLAYED = "recorded", "replayed"
GOALS = (RECORDED, REPLAYED)
"""Goals: the recorded row, or where the simulator ends that replays the recorded actions from the start."""


@dataclass(frozen=True)
class RecordedProblems:
    """A list of problems in a dataset: a start row, and the goal row some rows later; seed n is problem n."""

    path: str
    digest: str
    """Digest of the dataset's content (`Episodes.digest`), which belongs to a cell's identity; the path does not."""
    kind: str | None = None
    """Its format; None: found by its content."""
    split: str = VALIDATION
    """One of `SPLITS`."""
    validation: float = 0.1
    """Share of the episodes that are for validation."""
    split_seed: int = 0
    """Seed of the split."""
    offset: int | None = None
    """Rows, and environment steps, from start to goal; None: the horizon."""
    seed: int = 42
    """Seed of the list."""
    rows: int | None = None
    """Length of the list; None: as many as there are. Only published random calls draw other rows for another length."""
    history: bool = True
    """Whether a model that remembers sees the rows before the start; else it sees the start repeated."""
    observation: tuple[str, ...] = ()
    """Columns that make up the task's observation; none: found by role and size."""
    action: str | None = None
    """Column of the actions, in the environment's units; None: found by role and size."""
    manifest: str | None = None
    """A file that lists the problems in place of drawing them."""
    manifest_digest: str | None = None
    """Digest of the list in it."""
    pictures: str | None = None
    """Column of the pictures that a pixel model sees at the start and as the goal; None: the task draws them."""
    trained_on: bool = False
    """Whether episodes that the world model was trained on are allowed."""
    calls: str = OURS
    """One of `CALLS`."""
    goal: str = RECORDED
    """One of `GOALS`."""

    def identity(self, horizon: int) -> dict[str, object]:
        """The values that determine the problems of a horizon, for a cell's id."""
        found: dict[str, object] = {"digest": self.digest}
        if self.manifest_digest is not None:
            found["manifest"] = self.manifest_digest
        else:
            found |= {"split": self.split, "seed": self.seed, "offset": self.distance(horizon)}
            found |= {} if self.calls == OURS else {"calls": self.calls, "rows": self.rows}
            found |= {} if self.split == ALL else {"validation": self.validation, "split_seed": self.split_seed}
        found |= {} if self.history else {"history": False}
        found |= {} if self.goal == RECORDED else {"goal": self.goal}
        found |= {"observation": list(self.observation)} if self.observation else {}
        found |= {"pictures": self.pictures} if self.pictures else {}
        return found | ({"action": self.action} if self.action else {})

    def distance(self, horizon: int) -> int:
        """Rows from start to goal at a horizon, of drawn problems."""
        return horizon if self.offset is None else self.offset
