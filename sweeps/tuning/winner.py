"""The file winner.json of a study that has ended: its candidates, the winner first, with their results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from orchestrator.core.cell import Scalar
from world_models.errors import require
from world_models.files.names import file_name
from world_models.files.reading import Count, Finite, SpoiltFileError, read_json

WINNER = "winner.json"
"""Name of the file in a study's folder."""

FileName = Annotated[str, AfterValidator(lambda text: file_name("name", text))]
"""A text that becomes a part of a file's name."""


class StudyCondition(TypedDict):
    """A task, horizon and world model that the study tuned for."""

    task: FileName
    horizon: Annotated[int, Field(gt=0, lt=2**31)]
    model: str
    digest: str


# As texts: the key is that of the files, and no name of ours.
_Conditions = TypedDict("_Conditions", {"places": Annotated[list[StudyCondition], Field(min_length=1)]})  # noqa: UP013
_SettingsByCondition = TypedDict("_SettingsByCondition", {"places": list[dict[str, Scalar]]})  # noqa: UP013
"""The settings that differ from the defaults, under each of the study's conditions."""


class Numbers(TypedDict):
    """Results on a set of seeds; None where every cell failed."""

    success: Finite | None
    interval: tuple[Finite | None, Finite | None]
    n: Count
    values: dict[str, Finite | None]


class HeldOut(TypedDict):
    """Results on the held-out seeds."""

    success: Finite
    interval: tuple[Finite, Finite]
    n: Count
    values: dict[str, Finite | None]


class Versus(TypedDict):
    """A paired difference."""

    pairs: Count
    difference: Finite | None
    interval: tuple[Finite | None, Finite | None]


class RoundedCandidate(_SettingsByCondition):
    """A candidate's settings with fewer digits, and their results."""

    digits: Count
    alike: bool
    """Whether they succeed alike."""
    settings: dict[str, Scalar]
    held_out: HeldOut
    versus_default: Versus | None
    versus_unrounded: Versus | None
    p_value: Finite


class Rounding(TypedDict):
    """How the digits of applied settings were rounded."""

    digits: Count
    taken: bool
    rounded_success: Finite
    unrounded_success: Finite
    p_value: Finite


class Candidate(_SettingsByCondition):
    """Settings that were judged."""

    label: str
    trial: Count | None
    """None for the planner's own settings."""
    settings: dict[str, Scalar]
    tuning: Numbers | None
    choice: Numbers
    held_out: HeldOut
    versus_default: Versus | None
    rounded: NotRequired[RoundedCandidate | None]
    """Earlier versions did not judge it."""
    rounding: NotRequired[Rounding]
    """Only where it is applied; the file has none."""


class StudyReport(_Conditions):
    """The whole file."""

    study: str
    planner: str
    label: str
    trials: Count
    objectives: Annotated[list[str], Field(min_length=1)]
    tuning_seeds: str
    choice_seeds: str
    held_out_seeds: str
    date: str
    revision: str
    order_kept: Finite | None
    candidates: Annotated[list[Candidate], Field(min_length=1)]


def read_winner(folder: Path, name: str) -> StudyReport:
    """A study's winner.json. Raises UserError if the study has not ended, SpoiltFileError if the file is spoilt."""
    file, again = folder / WINNER, f"run grasp tune name={name} again"
    require(file.is_file(), f"study {name!r} has no winner in {folder} yet: run grasp tune name={name} to its end first.")
    report = read_json(file, StudyReport, "the report of a study", again)
    for candidate in report["candidates"]:
        rounded = candidate.get("rounded")
        for settings in (candidate["places"], *([rounded["places"]] if rounded else [])):
            if len(settings) != len(report["places"]):
                raise SpoiltFileError(f"{str(file)!r} is not the report of a study (a candidate lacks a condition): {again}.")
    return report
