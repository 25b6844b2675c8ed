"""A recurrent model that is trained from recordings: what one observation leaves out, the ones before it tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.evaluation.contexts import alike
from orchestrator.evaluation.execution import plan_and_execute
from planners import make_planner
from sweeps.cli.main import main
from tests.support.recorded_episodes import write_swm
from world_models.base import remembered
from world_models.checkpoints.store import load
from world_models.datasets import open_dataset
from world_models.datasets.arrow_writing import write_arrow
from world_models.datasets.problems.drawing import RecordedSource
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError
from world_models.models.gru import RecurrentConfig, RecurrentModel, recurrent_loss
from world_models.tasks import make_task
from world_models.testing import check_world_model, vectors
from world_models.training.fit_states import FitSettings
from world_models.training.recorded.train import RecordedData
from world_models.training.recorded.train_recurrent import RecurrentTrainSettings, train_recurrent

SIZES = RecurrentConfig(2, 1, 2, width=8, hidden=4, warm_up=3)
FIT = [
    "train.fit.unrolls=[6]",
    "train.fit.steps=[500]",
    "train.fit.batch_size=48",
    "train.fit.average=0.98",
    "train.fit.lr=0.008",
    "threads=1",
]
ARM = {"tolerance": [0.1], "low": [-1.0], "high": [1.0]}


def model() -> RecurrentModel:
    torch.manual_seed(0)
    made = RecurrentModel(SIZES)
    made.set_normalisation(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.8]))
    return made


def test_it_keeps_every_promise_of_a_world_model() -> None:
    check_world_model(model().requires_grad_(False), vectors(2))


def test_the_loss_is_that_of_predictions_after_the_shown_steps() -> None:
    made = model()
    seen, actions = torch.randn(5, 7, 2), torch.randn(5, 6, 2)
    encoded = made.encode(seen.flatten(0, 1)).unflatten(0, (5, 7))
    for shown in (0, 2, 5):
        errors, state = [], encoded[:, 0]
        path = remembered(made, encoded[:, : shown + 1], actions[:, :shown])
        for t in range(6):
            state = path[:, t] if t <= shown else state
            state = made.step(state[:, None], actions[:, t : t + 1])
            errors.append((state[:, :2] - encoded[:, t + 1, :2]) / made.gru.delta_scale)
        expected = torch.stack(errors, 1)
        expected = torch.where(expected.abs() < 0.5, expected.square(), expected.abs() - 0.25).mean()
        torch.testing.assert_close(recurrent_loss(made, seen, actions, shown, beta=0.5), expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": 0}, "RecurrentConfig.hidden 0 is not a valid size"),
        ({"warm_up": -1}, "warm_up -1 is not a number of steps"),
        ({"activation": "step"}, "activation"),
    ],
)
def test_senseless_sizes_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        RecurrentConfig(2, 1, **changes)


@pytest.fixture(scope="module")
def masses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of a mass that is pushed about: its position is observed, its velocity is not."""
    folder = tmp_path_factory.mktemp("mass")
    rng = np.random.default_rng(0)
    push = np.repeat(rng.uniform(-1, 1, (60, 8, 1)), 5, 1)
    place, speed = np.zeros((60, 41, 1)), rng.normal(0, 0.3, (60, 1))
    place[:, 0] = rng.normal(0, 1, (60, 1))
    for t in range(40):
        speed = 0.95 * speed + 0.1 * push[:, t]
        place[:, t + 1] = place[:, t] + 0.2 * speed
    action = np.concatenate([push, np.zeros((60, 1, 1))], 1)
    write_swm(folder / "mass.h5", {"observation": place, "action": action})
    for kind in ("mlp", "recurrent"):
        config = {"name": kind, "kind": kind, "task": {"name": "recorded", "settings": ARM}}
        (folder / "conf/world_model").mkdir(parents=True, exist_ok=True)
        (folder / f"conf/world_model/{kind}.yaml").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(masses: Path) -> Path:
    """The same recordings learned with and without a memory."""
    words = ["--conf", str(masses / "conf"), f"data={masses / 'mass.h5'}", f"output={masses}", *FIT, "train.width=32"]
    assert main(["train", "mlp", *words]) == 0
    assert main(["train", "recurrent", *words, "train.hidden=16", "train.warm_up=6"]) == 0
    return masses / "models"


def test_memory_predicts_what_one_observation_cannot(trained: Path) -> None:
    errors = {
        kind: json.loads((trained / kind / "card.json").read_text(encoding="utf-8"))["open_loop_error"]
        for kind in ("mlp", "recurrent")
    }
    for steps in ("5", "10", "25"):
        without, with_memory = (errors[kind]["distance_tolerances"][steps]["model"] for kind in ("mlp", "recurrent"))
        assert with_memory < 0.5 * without, steps


def test_a_start_is_warmed_up_by_the_rows_before_it(masses: Path, trained: Path) -> None:
    loaded, task = load(str(trained / "recurrent")), make_task("recorded", **ARM)
    data = open_dataset(masses / "mass.h5")
    source = RecordedSource.open(task, RecordedProblems(data.path, data.digest(), split="all"), 10)
    problems = [source.problem(seed, past=6) for seed in range(12)]
    groups = alike(problems, loaded)
    assert sorted(row for rows in groups for row in rows) == list(range(12))
    cold = [source.problem(seed) for seed in range(12)]

    def misses(which: list) -> float:
        found = [0.0] * 12
        for rows in alike(which, loaded):
            plan = make_planner("reference_actions")
            done = plan_and_execute(task, loaded, plan, [which[row] for row in rows], rows)
            for row, miss in zip(rows, done.rollout.final_distance, strict=True):
                found[row] = float(miss)
        return float(np.mean(found))

    assert misses(problems) < 0.6 * misses(cold)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.warm_up=100"], "needs 106: give a shorter warm-up or shorter unrolls"),
        (["data=null"], "is a recurrent model, which is trained from a dataset: add data=PATH"),
        (["recorded.pixels=observation"], "recurrent is a model of states: leave recorded.pixels"),
        (["train.depth=3"], "unknown setting of train 'depth'"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_a_sentence(
    words: list[str], said: str, masses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--conf", str(masses / "conf"), f"data={masses / 'mass.h5'}", f"output={tmp_path}", *FIT, *words]
    assert main(["train", "recurrent", *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_held_out_episodes_that_are_shorter_than_the_warm_up_are_refused_before_training(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), [60] * 2 + [8] * 20
    episodes = [{"observation": rng.normal(size=(count, 1)), "action": rng.uniform(-1, 1, (count, 1))} for count in rows]
    write_arrow(tmp_path / "made", episodes)
    settings = RecurrentTrainSettings(warm_up=10, fit=FitSettings(unrolls=(1,), steps=(3,), batch_size=4))
    taken: list[str] = []

    def progress(stage: str, done: int, total: int, loss: float) -> None:
        taken.append(stage)

    task, data = make_task("recorded", **ARM), RecordedData(str(tmp_path / "made"), validation=0.5)
    with pytest.raises(UserError, match=r"most validation episodes of .* have 7 steps or fewer"):
        train_recurrent("made", task, settings, tmp_path / "out", progress, recorded=data)
    assert not taken
