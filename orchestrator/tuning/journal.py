"""The lines of Optuna's journal, checked before Optuna reads them: it takes every line at its word."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, NotRequired

from optuna.distributions import json_to_distribution
from pydantic import AfterValidator, Field, RootModel
from typing_extensions import TypedDict

from world_models.files.reading import Count, SpoiltFileError, parse_json

REMEDY = "remove its damaged lines, restore a copy, or choose another with optuna.storage=FILE"
"""The remedy for a journal that cannot be read."""


def _is_moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _is_distribution(text: str) -> str:
    try:
        json_to_distribution(text)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a distribution: {error}") from error
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]
"""A time of day as text."""

Distribution = Annotated[str, AfterValidator(_is_distribution)]
"""A distribution in Optuna's words."""

Attributes = dict[str, object]
"""Values that are noted with a study or a trial."""

TrialState = Literal[0, 1, 2, 3, 4]
"""Optuna's numbers for running, complete, pruned, failed and waiting."""


class _Line(TypedDict):
    worker_id: str


class CreateStudy(_Line):
    """A study begins."""

    op_code: Literal[0]
    study_name: str
    directions: Annotated[list[Literal[1, 2]], Field(min_length=1)]


class DeleteStudy(_Line):
    """A study is removed."""

    op_code: Literal[1]
    study_id: Count


class StudyUserAttribute(_Line):
    """A value is noted with a study."""

    op_code: Literal[2]
    study_id: Count
    user_attr: Annotated[Attributes, Field(min_length=1, max_length=1)]


class StudySystemAttribute(_Line):
    """A value is noted with a study by Optuna."""

    op_code: Literal[3]
    study_id: Count
    system_attr: Annotated[Attributes, Field(min_length=1, max_length=1)]


class CreateTrial(_Line):
    """A trial begins, or a whole one is added."""

    op_code: Literal[4]
    study_id: Count
    datetime_start: Moment | None
    datetime_complete: NotRequired[Moment]
    distributions: NotRequired[dict[str, Distribution]]
    params: NotRequired[dict[str, float]]
    state: NotRequired[TrialState]
    user_attrs: NotRequired[Attributes]
    system_attrs: NotRequired[Attributes]
    value: NotRequired[float | None]
    values: NotRequired[list[float] | None]
    intermediate_values: NotRequired[dict[Annotated[str, Field(pattern=r"^\d{1,18}$")], float]]


class TrialParameter(_Line):
    """A trial gets a setting."""

    op_code: Literal[5]
    trial_id: Count
    param_name: str
    param_value_internal: float
    distribution: Distribution


class TrialStateValues(_Line):
    """A trial is begun or ended."""

    op_code: Literal[6]
    trial_id: Count
    state: TrialState
    values: list[float] | None
    datetime_start: NotRequired[Moment]
    datetime_complete: NotRequired[Moment]


class TrialIntermediateValue(_Line):
    """A trial reports a score."""

    op_code: Literal[7]
    trial_id: Count
    step: Count
    intermediate_value: float


class TrialUserAttribute(_Line):
    """A value is noted with a trial."""

    op_code: Literal[8]
    trial_id: Count
    user_attr: Annotated[Attributes, Field(min_length=1, max_length=1)]


class TrialSystemAttribute(_Line):
    """A value is noted with a trial by Optuna."""

    op_code: Literal[9]
    trial_id: Count
    system_attr: Annotated[Attributes, Field(min_length=1, max_length=1)]


class Discard(_Line):
    """Trials are discarded, which Optuna passes over."""

    op_code: Literal[10]


Study = CreateStudy | DeleteStudy | StudyUserAttribute | StudySystemAttribute
Trial = CreateTrial | TrialParameter | TrialStateValues | TrialIntermediateValue | TrialUserAttribute | TrialSystemAttribute


class Line(RootModel[Annotated[Study | Trial | Discard, Field(discriminator="op_code")]]):
    """One line of a journal."""


def check_journal(journal: Path) -> None:
    """Raise SpoiltFileError, naming the line, unless every line of a journal is one that Optuna writes."""
    with journal.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                parse_json(line, Line, "a line of Optuna's journal", REMEDY, f"{journal}, line {number}")
            except RecursionError as error:
                raise SpoiltFileError(f"'{journal}, line {number}' is nested too deeply: {REMEDY}.") from error
