"""Published draws: the rows that upstream's own statements draw, lists of a stated length, and manifests of CLEAR-LeWM."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.golden.record_draws import COUNT, DRAWS, LENGTHS, OFFSET
from world_models.datasets import from_arrays
from world_models.datasets.problems.clear_manifests import check_terms
from world_models.datasets.problems.rows import ProblemRows, problem_list, read_manifest
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError

DATA = from_arrays({"action": np.zeros((sum(LENGTHS), 2), np.float32)}, LENGTHS)
ALL = RecordedProblems("data.h5", "d", split="all", offset=OFFSET, rows=COUNT)
DRAWN = [
    (calls, int(seed), rows)
    for calls, by_seed in json.loads(DRAWS.read_text(encoding="utf-8")).items()
    for seed, rows in by_seed.items()
]


@pytest.mark.parametrize(("calls", "seed", "rows"), DRAWN, ids=[f"{calls}-{seed}" for calls, seed, _ in DRAWN])
def test_the_rows_are_those_that_upstream_draws(calls: str, seed: int, rows: list[list[int]]) -> None:
    found = problem_list(DATA, replace(ALL, calls=calls, seed=seed), horizon=50)
    assert found.count == COUNT
    listed = [found.at(number) for number in range(COUNT)]
    assert listed == [ProblemRows(episode, start, start + OFFSET) for episode, start in rows]


def test_seeds_beyond_the_list_and_lists_without_a_length_are_refused() -> None:
    drawn = replace(ALL, calls="swm")
    with pytest.raises(UserError, match="seed 12 asks for problem 12 of the dataset in memory"):
        problem_list(DATA, drawn, 50).at(COUNT)
    with pytest.raises(UserError, match=r"calls=swm draws a list whose rows depend on its length: give problems\.draw\.rows"):
        problem_list(DATA, replace(drawn, rows=None), 50)
    with pytest.raises(UserError, match="rows=1000 asks for more starts than the 224 of the dataset"):
        problem_list(DATA, replace(drawn, rows=1000), 50).at(0)
    with pytest.raises(UserError, match="did you mean 'swm'"):
        problem_list(DATA, replace(drawn, calls="swn"), 50)


def test_the_length_of_a_list_counts_only_for_published_calls() -> None:
    ours, theirs = ALL, replace(ALL, calls="swm")
    assert ours.identity(50) == replace(ours, rows=99).identity(50)
    assert theirs.identity(50) != replace(theirs, rows=99).identity(50)
    assert ours.identity(50) != theirs.identity(50) != replace(theirs, goal="replayed").identity(50)


def pair(number: int, episode: int, start: int) -> dict[str, object]:
    return {"pair_id": number, "episode_id": episode, "start_step": start, "goal_step": start + OFFSET, "difficulty": 51.3}


def test_a_manifest_of_clear_lewm_is_read(tmp_path: Path) -> None:
    file = tmp_path / "strict-seed42-n100.json"
    content = {"schema_version": "clear-lewm-manifest-v1", "pairs": [pair(0, 4, 3), pair(1, 0, 30)], "policy_seed": 42}
    file.write_text(json.dumps(content), encoding="utf-8")
    listed = read_manifest(file, np.array(LENGTHS))
    assert [listed.at(seed) for seed in (0, 1)] == [ProblemRows(4, 3, 28), ProblemRows(0, 30, 55)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"pairs": [pair(0, 4, 80)]}, "rows 80 and 105 are not in order within the episode's 90"),
        ({"pairs": [{"pair_id": 0}]}, "is not a manifest of CLEAR-LeWM"),
        ({"pair": []}, "is not a manifest of CLEAR-LeWM"),
        ({"pairs": []}, "lists no problems"),
    ],
)
def test_a_manifest_that_is_none_is_refused(content: dict[str, object], said: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_manifest(file, np.array(LENGTHS))


STRICT = {"name": "strict", "pusht_position_threshold": 10, "pusht_angle_threshold_deg": 10, "pusht_block_only": True}
STRICT |= {"pusht_sustained_steps": 3, "sustained_steps": 1, "cube_position_threshold_m": 0.03}
EARLIER = STRICT | {"pusht_position_threshold": 15.0, "pusht_angle_threshold_deg": 15.0, "pusht_block_only": False}


@pytest.mark.parametrize(
    ("terms", "protocol", "task", "said"),
    [
        ("strict", STRICT, "pusht", None),
        ("official", {"name": "official-compat"}, "pusht", None),
        ("moderate", {"name": "moderate", "pusht_angle_threshold_deg": 20}, None, None),
        ("strict", None, None, None),
        ("official", STRICT, "pusht", "protocol strict, and these plans are judged by official: give protocol=clear_strict"),
        ("strict", {"name": "clear-hard"}, "pusht", "protocol clear-hard, and these plans are judged by strict"),
        ("strict", STRICT, "reacher", "task reacher, and task push_t_upstream is another"),
        (
            "strict",
            EARLIER,
            "pusht",
            "agent and block within 15 px and 15 degrees, held for 3 steps; that of v0.5 asks for the block",
        ),
        ("moderate", {"name": "moderate", "sustained_steps": 3}, "pusht", "held for 3 steps; that of v0.5 .* at any step"),
    ],
)
def test_a_manifest_is_judged_by_its_own_terms(
    terms: str, protocol: object, task: object, said: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"pairs": [pair(0, 4, 3)], "task": task, "protocol": protocol}), encoding="utf-8")
    with nullcontext() if said is None else pytest.raises(UserError, match=said):
        check_terms(file, terms, "push_t_upstream")


def test_lists_of_ones_own_have_no_terms(tmp_path: Path) -> None:
    file = tmp_path / "problems.csv"
    file.write_text("episode,start,goal\n4,3,28\n", encoding="utf-8")
    check_terms(file, "strict", "push_t_upstream")
