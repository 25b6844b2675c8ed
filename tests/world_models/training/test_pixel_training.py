"""Training of pixel models: killed with kill -9 it goes on and ends like an undisturbed run; batches come in order; cards."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from orchestrator.core.modes import ExecutionMode
from orchestrator.evaluation.execution import plan_and_execute
from planners import make_planner
from world_models.base import Context, PixelObservation, rollout
from world_models.checkpoints import store as checkpoints
from world_models.errors import UnknownNameError, UserError
from world_models.models.ensemble import Ensemble
from world_models.tasks import make_task
from world_models.training.latent_stages import PredictorSettings
from world_models.training.loop import CURVE, LoopSettings, Stage, run_stage
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.prefetch import Prefetch
from world_models.training.train_pixels import train_pixels

TINY = {
    "trajectories": 50,
    "length": 20,
    "size": 32,
    "model": {"latent": 4, "encoder_width": 8, "width": 16, "depth": 1},
    "encoder": {"steps": 150, "batch_size": 8, "save_every": 20},
    "predictor": {"steps": 100, "batch_size": 16, "unrolls": [1, 3], "shares": [0.5, 0.5], "save_every": 20},
    "temporal": {"steps": 50, "batch_size": 32, "width": 16, "depth": 1, "embedding": 4},
    "probe": {"steps": 50, "batch_size": 32, "width": 0},
}

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from world_models.tasks import make_task
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.train_pixels import train_pixels
if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = PixelTrainSettings.of(json.loads(sys.argv[2]))
    tell = lambda stage, done, total, loss: print(stage, done, flush=True)
    train_pixels("m", make_task("wall"), settings, Path(sys.argv[1]), tell, data_folder=Path(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels")
    train_pixels("m", make_task("wall"), PixelTrainSettings.of(TINY), folder / "m", data_folder=folder / "data")
    return folder


def test_a_killed_run_goes_on_within_one_interval_and_ends_like_an_undisturbed_one(undisturbed, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "m"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(out), json.dumps(TINY), str(undisturbed / "data")]
    for stage in ("encoder", "predictor"):
        run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        deadline = time.monotonic() + 120
        while run.stdout.readline().split() != [stage, "50"] and time.monotonic() < deadline:
            assert run.poll() is None, "training ended before it could be killed"
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        run.stdout.close()
        assert not (out / "card.json").exists()
        saved = torch.load(out / f"resume-{stage}.pt", weights_only=True)
        assert saved["step"] >= 40  # two intervals of 20 were done when step 50 was reported
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    printed = [line.split() for line in done.stdout.splitlines()]
    assert ["encoder", "50"] not in printed
    card, expected = (json.loads((folder / "card.json").read_text(encoding="utf-8")) for folder in (out, undisturbed / "m"))
    assert card["loss_curves"] == expected["loss_curves"]
    assert len(card["loss_curves"]["encoder"]) == 150 // CURVE
    assert card["content_digest"] == expected["content_digest"]
    assert not list(out.glob("resume-*"))


def test_the_card_says_what_was_learned_and_from_what(undisturbed):
    card = json.loads((undisturbed / "m" / "card.json").read_text(encoding="utf-8"))
    assert card["labels"] == {"encoder": "none", "latent": "none", "probe": "observation", "temporal": "none"}
    assert set(card["goal_cost_rank_correlation"]) == {"latent", "probe", "temporal"}
    assert {"all", "0-5", "5-10", "10-20"} <= set(card["goal_cost_rank_correlation"]["temporal"])
    entry = card["open_loop_error"]["position_px"]["20"]
    assert set(entry) == {"model", "persistence", "readout"}
    assert card["sensors"] == {"kind": "pixels", "size": 32, "proprioception": 0}
    loaded = checkpoints.load(str(undisturbed / "m"))
    task = make_task("wall")
    problem = task.problem(10_000, 40)
    assert loaded.sensors.encode(loaded.model, task, problem.start[None]).shape == (1, 4)


class Slope(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


def test_a_stage_descends_and_ends_with_the_average_of_its_weights():
    module, seen = Slope(), []
    settings = LoopSettings(steps=200, lr=0.05, weight_decay=0.0, average=0.9)

    def loss(batch, generator):
        seen.append((batch, torch.rand(1, generator=generator).item()))
        return (module.weight - torch.tensor([1.0, -2.0, 0.5])).square().sum()

    report = run_stage(Stage("slope", module, lambda step: step, loss, settings))
    torch.testing.assert_close(module.weight.detach(), torch.tensor([1.0, -2.0, 0.5]), atol=0.02, rtol=0)
    assert [step for step, _ in seen] == list(range(200))
    assert len({noise for _, noise in seen}) == 200
    assert report.curve[-1] < 1e-3 < report.curve[0]
    assert len(report.curve) == 4


def test_a_run_with_other_settings_or_data_begins_anew(tmp_path):
    steps = []

    def stage(settings, about):
        def loss(batch, generator):
            steps.append(batch)
            return module.weight.square().sum()

        module = Slope()
        return Stage("slope", module, lambda step: step, loss, settings, about)

    settings = LoopSettings(steps=30, save_every=10)
    for given, about, expected in (
        (settings, "a", 30),
        (settings, "a", 0),
        (replace(settings, lr=0.1), "a", 30),
        (settings, "b", 30),
    ):
        steps.clear()
        run_stage(stage(given, about), tmp_path / "resume.pt")
        assert len(steps) == expected


def test_batches_and_errors_arrive_in_order():
    with Prefetch(lambda step: step * step, 3, 8) as batches:
        assert list(batches) == [9, 16, 25, 36, 49]

    def breaks(step):
        if step == 2:
            raise UserError("no such frame")
        return step

    with Prefetch(breaks, 0, 5) as batches, pytest.raises(UserError, match="no such frame"):
        list(batches)
    with Prefetch(lambda step: step, 0, 10_000) as batches:
        assert next(iter(batches)) == 0


def test_the_reader_reports_how_long_it_waited():
    def slow(step):
        time.sleep(0.02)
        return step

    with Prefetch(slow, 0, 6) as batches:
        list(batches)
    assert batches.waited > 0.05


def test_unrolls_grow_stage_by_stage():
    settings = PredictorSettings(steps=10, unrolls=(1, 4, 16), shares=(0.4, 0.4, 0.2))
    assert [settings.unroll_at(step) for step in range(10)] == [1] * 4 + [4] * 4 + [16] * 2


@pytest.mark.parametrize(
    ("values", "error", "sentence"),
    [
        ({"trajectory": 3}, UnknownNameError, "trajectory"),
        ({"encoder": {"stepss": 3}}, UnknownNameError, r"train\.encoder 'stepss'"),
        ({"encoder": 3}, UserError, r"train\.encoder 3 must be a mapping"),
        ({"encoder": {"regulariser": "vicregg"}}, UnknownNameError, "vicregg"),
        ({"encoder": {"labels": "poses"}}, UnknownNameError, "poses"),
        ({"predictor": {"unrolls": [1, 2]}}, UserError, r"unrolls \(1, 2\)"),
        ({"temporal": None}, UserError, "goal_cost 'temporal' is not trained"),
        ({"trajectories": 0}, UserError, "trajectories 0"),
        ({"data_seed": 1_000_003}, UserError, "reserved for held-out"),
        ({"probe": {"lr": 0.0}}, UserError, r"lr 0\.0"),
        ({"probe": {"save_every": 0}}, UserError, "save_every 0"),
    ],
)
def test_nonsense_is_refused_by_name_and_value(values, error, sentence):
    with pytest.raises(error, match=sentence):
        PixelTrainSettings.of(values)
    assert PixelTrainSettings.of({"temporal": None, "goal_cost": "latent"}).temporal is None


def test_an_ensemble_has_one_encoder_and_predictors_that_began_elsewhere(undisturbed, tmp_path):
    settings = PixelTrainSettings.of({**TINY, "ensemble": 3})
    out = train_pixels("several", make_task("wall"), settings, tmp_path / "several", data_folder=undisturbed / "data")
    loaded, alone = checkpoints.load(str(out)), checkpoints.load(str(undisturbed / "m"))
    assert isinstance(loaded.model, Ensemble)
    assert loaded.card["loss_curves"].keys() >= {"encoder", "predictor", "predictor-2", "predictor-3", "temporal", "probe"}
    assert loaded.card["open_loop_error"].keys() == {"position_px"}
    names = checkpoints.read_tensors(str(out))
    assert sum("encoder." in name and name.startswith("shared/") for name in names) > 0
    assert not any("encoder." in name for name in names if not name.startswith("shared/"))
    observation = PixelObservation(torch.randint(256, (5, 32, 32, 3), dtype=torch.uint8), torch.zeros(5, 0))
    states = loaded.model.encode(observation)
    assert torch.allclose(states[:, :-1], alone.model.encode(observation))
    context, actions = Context.at(loaded.model, states), torch.rand(5, 6, 2) * 2 - 1
    ends = rollout(loaded.model, context, actions)[:, -1]
    assert (ends[:, -1] > 0.01).all()
    free, priced = loaded.goal_cost(ends, states), loaded.with_goal_cost(None, 2.0).goal_cost(ends, states)
    assert torch.allclose(priced - free, 2.0 * ends[:, -1].square(), atol=1e-5)
    assert torch.allclose(loaded.goal_cost(states, states), torch.zeros(5))
    first = loaded.model.models[0].step(context.states[..., :-1], torch.zeros(5, 3, 2))
    assert torch.allclose(first, alone.model.step(Context.at(alone.model, states[:, :-1]).states, torch.zeros(5, 3, 2)))


@pytest.mark.parametrize(("name", "encoder", "regulariser"), [("point_maze", "vit", "sigreg"), ("push_t", "moments", "vicreg")])
def test_the_recipe_runs_on_other_tasks_with_other_encoders_and_with_proprioception(name, encoder, regulariser, tmp_path):
    task = make_task(name, action_block=2)
    values = {**TINY, "trajectories": 10, "proprioception": True, "goal_cost": "latent"}
    values["model"] = {**TINY["model"], "encoder": encoder, "latent": 6}
    values["encoder"] = {"steps": 60, "batch_size": 8, "regulariser": regulariser, "labels": "proprioception"}
    settings = PixelTrainSettings.of({**values, "predictor": {"steps": 30, "batch_size": 16, "unrolls": [2], "shares": [1.0]}})
    loaded = checkpoints.load(str(train_pixels(name, task, settings, tmp_path / name, data_folder=tmp_path / "data")))
    assert loaded.sensors.proprioception == task.proprioception_dim
    curve = loaded.card["loss_curves"]["encoder"]
    assert all(map(math.isfinite, curve))
    problem = task.problem(10_000, 40)
    planner = make_planner("gd", {"iterations": 3})
    done = plan_and_execute(task, loaded, planner, [problem], [0], mode=ExecutionMode(20))
    assert done.rollout.states.shape[1] == 41
    assert torch.isfinite(done.cost).all()
