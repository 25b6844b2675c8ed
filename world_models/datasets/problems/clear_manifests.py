"""Manifests of CLEAR-LeWM (DavidSunok/CLEAR-LeWM, v0.5): fixed pairs of start and goal, and the test that judges them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from world_models.errors import require
from world_models.files.reading import parse_json, read_text

WHAT, REMEDY = "a manifest of CLEAR-LeWM", "give one of its manifests, as it comes"

TASKS = {"push_t_upstream": "pusht", "two_room": "tworoom"}
"""CLEAR-LeWM's names of our tasks."""


@dataclass(frozen=True)
class ClearPair:
    """A start and a goal, as row numbers within an episode."""

    pair_id: int
    episode_id: int
    start_step: int
    goal_step: int


@dataclass(frozen=True)
class ClearTerms:
    """The terms by which a manifest's plans are judged on Push-T; their names are CLEAR-LeWM's."""

    name: str
    pusht_position_threshold: float = 20.0
    pusht_angle_threshold_deg: float = 20.0
    pusht_block_only: bool = False
    pusht_sustained_steps: int | None = None
    sustained_steps: int = 1

    @property
    def words(self) -> str:
        """The test, in words."""
        what = "the block" if self.pusht_block_only else "agent and block"
        held = self.pusht_sustained_steps or self.sustained_steps
        near = f"{what} within {self.pusht_position_threshold:g} px and {self.pusht_angle_threshold_deg:g} degrees"
        return f"{near}, {'at any step' if held == 1 else f'held for {held} steps'}"


@dataclass(frozen=True)
class ClearManifest:
    """The pairs of a manifest, and whose they are; what else it says is not read."""

    pairs: list[ClearPair]
    task: str | None = None
    protocol: ClearTerms | None = None


TERMS = {
    "official": ClearTerms("official"),
    "moderate": ClearTerms("moderate"),
    "strict": ClearTerms("strict", 10.0, 10.0, True, 3),
}
"""The terms of v0.5."""


def read_clear(file: Path, text: str) -> ClearManifest:
    """The manifest in a file's text. Raises UserError for text that holds none."""
    return parse_json(text, ClearManifest, WHAT, REMEDY, str(file))


def check_terms(file: Path, terms: str, task: str) -> None:
    """Raise UserError for a manifest of CLEAR-LeWM that is of another task or is judged by other terms.

    Other lists of problems say nothing about that.
    """
    text = read_text(file, WHAT, REMEDY)
    if not text.lstrip().startswith("{"):
        return
    manifest, wanted = read_clear(file, text), TERMS[terms]
    require(
        manifest.task in (None, TASKS.get(task, task)),
        f"{file} lists pairs of CLEAR-LeWM's task {manifest.task}, and task {task} is another: give this task's manifest.",
    )
    found = manifest.protocol
    if found is None:
        return
    require(
        found.name.removesuffix("-compat") == wanted.name,
        f"{file} is of CLEAR-LeWM's protocol {found.name}, and these plans are judged by {wanted.name}: give protocol="
        f"clear_{found.name if found.name in TERMS else wanted.name} or the manifest of {wanted.name}.",
    )
    require(
        found.words == wanted.words,
        f"{file} is of an earlier {found.name}, which asks for {found.words}; that of v0.5 asks for {wanted.words}: give a "
        "manifest of manifests/v0.5.",
    )
