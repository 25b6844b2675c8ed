"""Environments of other packages: what is mended for them, and what is said where they are missing or misnamed."""

from __future__ import annotations

import importlib.util
import io
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from rich.console import Console

from sweeps.config.files import CONF
from sweeps.models.train import train_models
from tests.world_models.tasks.gym.made_up import register
from world_models.checkpoints.store import read_card
from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.tasks.gym import mending
from world_models.tasks.gym.making import make_env
from world_models.tasks.wall import Wall

register()


def test_fetch_runs_with_this_version_of_mujoco_whose_own_types_are_left_alone() -> None:
    import mujoco

    types = dict(mujoco.mjtJoint.__members__)
    task = make_task("gymnasium", id="FetchReach-v4")
    state = task.problem(0, 8).start
    moved = task.simulate(state[None], np.ones((1, 4, 4)))[0]
    assert (task.observe(moved)[-1, :3] != task.observe(moved)[0, :3]).all()
    assert dict(mujoco.mjtJoint.__members__) == types
    assert isinstance(mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint)


def test_where_joint_types_equal_numbers_nothing_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = SimpleNamespace(mjtJoint=SimpleNamespace(mjJNT_SLIDE=2))
    helpers = SimpleNamespace(mujoco=fitting)
    known = {"mujoco": fitting, "gymnasium_robotics.utils.mujoco_utils": helpers}
    monkeypatch.setattr(mending, "import_module", known.__getitem__)
    mending.mend_joint_types()
    assert helpers.mujoco is fitting


def test_shared_generators_decide_a_start_and_are_given_back() -> None:
    task = make_task("gymnasium", id="MadeUp/SharedStart-v0", features=[0], tolerance=0.05)
    np.random.seed(1)
    expected = np.random.get_state()[1].tolist()
    starts = [task.problem(seed, 20).start for seed in (3, 4, 3)]
    assert np.array_equal(starts[0], starts[2])
    assert not np.array_equal(starts[0], starts[1])
    assert np.random.get_state()[1].tolist() == expected


@pytest.mark.skipif(importlib.util.find_spec("ogbench") is not None, reason="OGBench is installed")
def test_ogbench_says_how_it_is_installed() -> None:
    with pytest.raises(UserError, match="needs the package ogbench: pip install ogbench"):
        make_task("gymnasium", id="pointmaze-large-v0")


def test_a_task_whose_model_is_not_trained_yet_says_how() -> None:
    said = "there is no world model in outputs/nowhere/fetch_reach: train one .`grasp train fetch_reach`"
    with pytest.raises(UserError, match=said):
        read_card("outputs/nowhere/fetch_reach")


def test_all_trains_the_zoo_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models that do not ship take hours together, and packages that may be missing."""
    trained: list[str] = []
    monkeypatch.setattr("sweeps.models.train.make_task", lambda *_, **__: Wall())
    monkeypatch.setattr("sweeps.models.train._train", lambda job, _: trained.append(job.name))
    monkeypatch.setattr("sweeps.models.train.models", lambda *_: 0)
    train_models("all", [f"output={tmp_path}"], Console(file=io.StringIO()))
    kept = {file.stem: yaml.safe_load(file.read_text()).get("zoo", True) for file in (CONF / "world_model").glob("*.yaml")}
    assert sorted(trained) == sorted(name for name, zoo in kept.items() if zoo)
    assert {"pendulum", "wall_pixels"} <= set(trained)
    assert not {"fetch_reach", "ogbench_cube_single"} & set(trained)


def test_a_picture_shows_nothing_of_what_came_before_its_reset() -> None:
    task = make_task("gymnasium", id="gym_pusht/PushT-v0")
    first, later = (task.problem(seed, 8) for seed in (0, 1))
    fresh = task.render(first.start, 48)
    assert (task.render(later.goal, 48) != fresh).any()
    assert np.array_equal(task.render(first.start, 48), fresh)


def test_every_shipped_task_of_an_id_is_short_and_has_its_own_model() -> None:
    for file in sorted((CONF / "task").glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 15
        task = yaml.safe_load(text)
        if task["name"] == "gymnasium" and "${output}" in task["world_model"]:
            assert Path(task["world_model"]).name == file.stem
            model = yaml.safe_load((CONF / "world_model" / file.name).read_text(encoding="utf-8"))
            assert model["task"] == {"name": task["name"], "settings": task["settings"]}
            assert model["zoo"] is False


def test_mazes_leave_no_temporary_files_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    make_env("PointMaze_UMaze-v3", "{}")
    assert not list(tmp_path.iterdir())
    assert tempfile.tempdir == str(tmp_path)
