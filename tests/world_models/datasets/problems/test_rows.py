"""Lists of problems: the same whoever reads them and however much of them, in episodes of their split, or given by a file."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from world_models.datasets import from_arrays, split_episodes
from world_models.datasets.problems.leakage import check_not_trained_on, trained_episodes
from world_models.datasets.problems.rows import ProblemRows, as_csv, episodes_of, problem_list, read_manifest
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError

LENGTHS = [60, 26, 25, 1, 90, 40, 33, 70, 80, 10]
DATA = from_arrays({"action": np.zeros((sum(LENGTHS), 2), np.float32)}, LENGTHS)
ALL = RecordedProblems("data.h5", "d", split="all")


def listed(problems: RecordedProblems, count: int, horizon: int = 25) -> list[ProblemRows]:
    found = problem_list(DATA, problems, horizon)
    return [found.at(number) for number in range(count)]


def test_fifty_are_the_first_of_two_hundred_and_all_differ() -> None:
    whole = listed(replace(ALL, rows=200), 200)
    assert listed(replace(ALL, rows=50), 50) == whole[:50]
    assert len(set(whole)) == 200
    assert listed(replace(ALL, seed=43), 50) != whole[:50]


def read_by(numbers: list[int]) -> list[ProblemRows]:
    found = problem_list(DATA, ALL, 25)
    return [found.at(number) for number in numbers]


def test_four_processes_read_the_list_that_one_reads() -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        parts = pool.map(read_by, [list(range(worker, 40, 4)) for worker in range(4)])
    together = {
        number: rows for worker, part in enumerate(parts) for number, rows in zip(range(worker, 40, 4), part, strict=True)
    }
    assert [together[number] for number in range(40)] == listed(ALL, 40)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(0, 5), st.sampled_from(["all", "training", "validation"]))
def test_rows_are_of_the_split_and_as_far_apart_as_asked(offset: int, seed: int, split: str) -> None:
    problems = RecordedProblems("data.h5", "d", split=split, validation=0.4, split_seed=3, offset=offset, seed=seed)
    episodes = set(episodes_of(problems, len(LENGTHS)).tolist())
    possible = sum(max(LENGTHS[episode] - offset, 0) for episode in episodes)
    if not possible:
        with pytest.raises(UserError, match="has no problem: its longest episode has"):
            problem_list(DATA, problems, 25)
        return
    found = problem_list(DATA, problems, 25)
    assert found.count == possible
    rows = [found.at(number) for number in range(possible)]
    assert len(set(rows)) == possible, "every start that has a goal occurs once"
    assert all(each.episode in episodes and each.goal - each.start == offset for each in rows)
    assert all(each.start >= 0 and each.goal < LENGTHS[each.episode] for each in rows)


def test_the_splits_share_no_episode_and_are_those_of_training() -> None:
    training, validation = (set(episodes_of(replace(ALL, split=name), 10).tolist()) for name in ("training", "validation"))
    assert not training & validation
    assert training | validation == set(range(10))
    assert sorted(validation) == split_episodes(10, 0.1, 0)[1].tolist()


def test_beyond_the_end_the_length_is_named() -> None:
    with pytest.raises(UserError, match=r"problem 50 of .* which has 50 of them: give seeds below 50, or a larger"):
        problem_list(DATA, replace(ALL, rows=50), 25).at(50)
    with pytest.raises(UserError, match="has no problem: its longest episode has 90 rows; give a shorter"):
        problem_list(DATA, ALL, 90)
    with pytest.raises(UserError, match="did you mean 'validation'"):
        problem_list(DATA, replace(ALL, split="validatoin"), 25)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_list_that_is_written_is_read(suffix: str, tmp_path: Path) -> None:
    rows = listed(ALL, 12)
    text = as_csv(enumerate(rows)) if suffix == ".csv" else json.dumps([vars(each) for each in rows])
    (tmp_path / f"list{suffix}").write_text(text)
    found = read_manifest(tmp_path / f"list{suffix}", DATA.lengths)
    assert [found.at(number) for number in range(found.count)] == rows
    with_seeds = "\ufeffseed, episode, start, goal\n7, 0, 1, 2\n3, 0, 5, 9\n"
    (tmp_path / "seeds.CSV").write_text(with_seeds, encoding="utf-8")
    seeded = read_manifest(tmp_path / "seeds.CSV", DATA.lengths)
    assert (seeded.at(7), seeded.at(3)) == (ProblemRows(0, 1, 2), ProblemRows(0, 5, 9))
    other = read_manifest(tmp_path / f"list{suffix}", DATA.lengths)
    assert other.digest == found.digest
    given = replace(ALL, manifest=str(tmp_path / f"list{suffix}"), manifest_digest=found.digest)
    assert listed(given, 12) == rows
    with pytest.raises(UserError, match="lists 12 problems, and seed 12 is none of them"):
        listed(given, 13)
    with pytest.raises(UserError, match="lists other problems than when the sweep was made"):
        problem_list(DATA, replace(given, manifest_digest="other"), 25)


REFUSED = {
    "episode,start,goal\n0,5,70\n": "problem 0: rows 5 and 70 are not in order within the episode's 60",
    "episode,start,goal\n0,5,5\n": "rows 5 and 5 are not in order",
    "episode,start,goal\n10,5,6\n": "episode 10 is not one of the dataset's 10",
    "episode,start,goal\n1,0,9\n0,five,6\n": "problem 1 has not all of the whole numbers episode, start, goal",
    "episode,start\n0,5\n": "problem 0 has not all of the whole numbers",
    "": "lists no problems: give lines",
    "seed,episode,start,goal\n1,0,1,2\n1,0,2,3\n": "lists a seed twice",
    "episode,start,goal\n" + "1" * 200_000: "field larger than field limit",
    "\0\1": "problem|no problems",
}


@pytest.mark.parametrize("text", REFUSED)
def test_odd_lists_are_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=REFUSED[text]) as refusal:
        read_manifest(tmp_path / "list.csv", DATA.lengths)
    assert "\n" not in str(refusal.value)


def test_a_list_that_is_not_there_and_a_split_without_episodes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"list\.csv does not exist: give the path"):
        read_manifest(tmp_path / "list.csv", DATA.lengths)
    with pytest.raises(UserError, match=r"has no validation episodes: give a larger .* or problems.split=all"):
        problem_list(DATA, replace(ALL, split="validation", validation=0.0), 25)


@pytest.mark.parametrize("text", ["{", "[1]", '[{"episode": 0}]', '[{"episode": "0", "start": 1, "goal": 2}]'])
def test_odd_lists_in_json_are_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(UserError) as refusal:
        read_manifest(tmp_path / "list.json", DATA.lengths)
    assert "\n" not in str(refusal.value)


def card(**changes: object) -> dict[str, object]:
    data = {"digest": "d", "episodes": 10, "validation": 0.1, "split_seed": 0, **changes}
    return {"name": "model", "data": data}


def test_a_model_is_not_judged_on_episodes_that_it_was_trained_on_unless_asked(tmp_path: Path) -> None:
    training, _ = split_episodes(10, 0.1, 0)
    assert trained_episodes(card(), ALL).tolist() == training.tolist()
    assert not len(trained_episodes(card(), replace(ALL, split="validation")))
    assert not len(trained_episodes(card(digest="another"), ALL))
    assert not len(trained_episodes({"data": {"digest": "d", "trajectories": 3}}, ALL)), "collected, not recorded"
    with pytest.raises(UserError, match=r"was trained on 9 of the episodes .* or problems.trained_on=true"):
        check_not_trained_on(card(), ALL)
    check_not_trained_on(card(), replace(ALL, trained_on=True))
    other_split = replace(ALL, split="validation", validation=0.3, split_seed=1)
    assert set(trained_episodes(card(), other_split).tolist()) == set(episodes_of(other_split, 10).tolist()) & set(
        training.tolist()
    )
    (tmp_path / "list.csv").write_text(f"episode,start,goal\n{training[0]},0,1\n")
    with pytest.raises(UserError, match=f"was trained on 1 of the episodes .* such as episode {training[0]}"):
        check_not_trained_on(card(), replace(ALL, manifest=str(tmp_path / "list.csv")))
