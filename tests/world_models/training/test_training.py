"""Training: data do not depend on processes, an interrupted run ends like an undisturbed one, models learn, cards say so."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from world_models.checkpoints import store as checkpoints
from world_models.errors import UnknownNameError, UserError
from world_models.models.mlp import MLPConfig
from world_models.tasks import make_task
from world_models.training.data import Dataset, collect, collect_cached
from world_models.training.fit_states import FitSettings, Windows, abrupt_changes, fit, new_model, unrolled_loss
from world_models.training.train import HELD_OUT_SEED, TrainSettings, train

WALL = make_task("wall")
SMALL = FitSettings(unrolls=(1, 3), steps=(120, 80), batch_size=64)
SIZES = MLPConfig(observation_dim=2, action_dim=2, width=32, depth=2)


@pytest.fixture(scope="module")
def data():
    return collect(WALL, 60, 20, seed=3)


def test_collection_depends_on_its_arguments_only(data):
    again = collect(WALL, 60, 20, seed=3)
    assert again.digest == data.digest
    np.testing.assert_array_equal(collect(WALL, 50, 20, seed=3).observations, data.observations[:50])
    assert collect(WALL, 60, 20, seed=4).digest != data.digest


def test_datasets_round_trip_and_foreign_files_are_refused(data, tmp_path):
    data.write(tmp_path / "d.parquet")
    assert Dataset.read(tmp_path / "d.parquet").digest == data.digest
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"x\.parquet is not a dataset"):
        Dataset.read(tmp_path / "x.parquet")


def test_cached_data_are_the_collected_data(data, tmp_path):
    assert collect_cached(WALL, 60, 20, 3, tmp_path).digest == data.digest
    assert collect_cached(WALL, 60, 20, 3, tmp_path).digest == data.digest
    assert len(list(tmp_path.iterdir())) == 1


def test_windows_hold_what_the_data_hold(data):
    observations, actions = Windows(data, 2, torch.device("cpu"), seed=0).draw(5, 16, 3)
    assert observations.shape == (16, 4, 2)
    assert actions.shape == (16, 3, 4)
    flat = torch.from_numpy(data.observations)
    for row in range(16):
        at = (flat[:, :-6] == observations[row, 0]).all(-1).nonzero()
        matches = [torch.equal(flat[i, t : t + 7 : 2], observations[row]) for i, t in at.tolist()]
        assert any(matches)


def test_windows_can_be_drawn_around_abrupt_changes():
    rng = np.random.default_rng(0)
    observations = rng.uniform(-0.01, 0.01, (20, 31, 3)).cumsum(1)
    jumps = rng.integers(1, 30, 20)
    for row, time_of in enumerate(jumps):
        observations[row, time_of:, 1] += 5.0
    jumpy = Dataset(observations.astype(np.float32), np.zeros((20, 30, 1), np.float32))
    found = abrupt_changes(jumpy)
    assert sorted(map(tuple, found.tolist())) == sorted(enumerate((jumps - 1).tolist()))
    always = Windows(jumpy, 1, torch.device("cpu"), 0, abrupt_share=1.0).draw(3, 64, 4)[0]
    assert ((always[:, -1, 1] - always[:, 0, 1]) > 4).all()
    half = Windows(jumpy, 1, torch.device("cpu"), 0, abrupt_share=0.5).draw(3, 64, 4)[0]
    assert ((half[:32, -1, 1] - half[:32, 0, 1]) > 4).all()
    assert ((half[32:, -1, 1] - half[32:, 0, 1]) > 4).float().mean() < 0.5
    smooth = Windows(jumpy, 1, torch.device("cpu"), 0).draw(3, 64, 4)[0]
    assert smooth.shape == half.shape


def test_the_loss_is_the_open_loop_error(data):
    model = new_model(data, SIZES, 0)
    observations = torch.from_numpy(data.observations[:4, :4])
    states = model.encode(observations)
    perfect = [states[:, 0]]
    actions = torch.from_numpy(data.actions[:4, :3])
    for t in range(3):
        perfect.append(model.step(perfect[-1][:, None], actions[:, t : t + 1]))
    own = model.decode(torch.stack(perfect, 1))
    assert unrolled_loss(model, own, actions, 0.1).item() < 1e-8
    assert unrolled_loss(model, observations, actions, 0.1).item() > 1e-3


def test_training_beats_persistence(data):
    model = fit(new_model(data, SIZES, 0), data, SMALL, torch.device("cpu"))
    observations, actions = Windows(data, 1, torch.device("cpu"), seed=9).draw(0, 256, 5)
    untrained = new_model(data, SIZES, 0)
    with torch.no_grad():
        assert unrolled_loss(model, observations, actions, 0.1) < 0.4 * unrolled_loss(untrained, observations, actions, 0.1)


def test_an_interrupted_run_ends_like_an_undisturbed_one(data, tmp_path):
    undisturbed = fit(new_model(data, SIZES, 0), data, SMALL, torch.device("cpu"))

    class InterruptError(Exception):
        pass

    def stop(stage, done, total, loss):
        if done == 200:
            raise InterruptError

    with pytest.raises(InterruptError):
        fit(new_model(data, SIZES, 0), data, SMALL, torch.device("cpu"), tmp_path / "r.pt", stop, save_every=50)
    steps = []
    resumed = fit(
        new_model(data, SIZES, 0),
        data,
        SMALL,
        torch.device("cpu"),
        tmp_path / "r.pt",
        lambda stage, done, total, loss: steps.append(done),
        save_every=50,
    )
    assert steps == [200]
    for left, right in zip(undisturbed.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_other_settings_do_not_resume_an_old_run(data, tmp_path):
    resume = tmp_path / "r.pt"
    fit(new_model(data, SIZES, 0), data, SMALL, torch.device("cpu"), resume, save_every=50)
    assert resume.exists()
    steps = []
    fit(
        new_model(data, SIZES, 0),
        data,
        replace(SMALL, lr=1e-3),
        torch.device("cpu"),
        resume,
        lambda stage, done, total, loss: steps.append(done),
    )
    assert steps == [100, 200]


SCRIPT = """
import sys
from pathlib import Path
from world_models.tasks import make_task
from world_models.training.train import TrainSettings, train
settings = TrainSettings.of({"trajectories": 50, "length": 20, "width": 16, "depth": 1,
                             "fit": {"unrolls": [1], "steps": [6000], "batch_size": 32}})
if __name__ == "__main__":
    train("m", make_task("wall"), settings, Path(sys.argv[1]), lambda s, d, t, loss: print(s, d, flush=True))
"""


def test_killed_training_goes_on_and_writes_a_whole_checkpoint(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    out = tmp_path / "m"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), str(out)]
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    deadline = time.monotonic() + 120
    while not (out / "resume.pt").exists() and time.monotonic() < deadline:
        assert first.stdout.readline(), "training ended before it could be killed"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert not (out / "card.json").exists()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    done = [int(line.split()[1]) for line in second.stdout.splitlines() if line.startswith("train")]
    assert done[0] > 1000
    assert done[-1] == 6000
    loaded = checkpoints.load(str(out))
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert card["open_loop_error"]["position_px"]["1"]["model"] < card["open_loop_error"]["position_px"]["1"]["persistence"]
    assert loaded.digest == card["content_digest"]
    assert not (out / "resume.pt").exists()


def test_nonsense_is_refused_by_name_and_value():
    with pytest.raises(UnknownNameError, match=r"trajectorys.*trajectories"):
        TrainSettings.of({"trajectorys": 3})
    with pytest.raises(UnknownNameError, match="learningrate"):
        TrainSettings.of({"fit": {"learningrate": 3}})
    with pytest.raises(UserError, match="trajectories 0"):
        TrainSettings(trajectories=0)
    with pytest.raises(UserError, match=str(HELD_OUT_SEED)):
        TrainSettings(data_seed=HELD_OUT_SEED)
    with pytest.raises(UserError, match="one unroll per stage"):
        FitSettings(unrolls=(1, 2), steps=(10,))
    with pytest.raises(UserError, match="lr -1"):
        FitSettings(lr=-1.0)
    assert callable(train)
