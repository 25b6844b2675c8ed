"""Configs: shipped ones compose and are valid, overrides take effect, mistakes get one sentence."""

import re
from pathlib import Path

import pytest

from planners import PLANNERS, full_settings, setting_kinds
from sweeps.config.compose import compose
from sweeps.config.files import groups
from sweeps.config.grid import spec_of
from sweeps.config.schema.configs import PlanConfig, SweepConfig, TrainConfig
from world_models.errors import UnknownNameError, UserError
from world_models.tasks import Task, make_task
from world_models.tasks.gym import GymTask
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.train import TrainSettings


def made(name: str, settings: dict) -> Task:
    """The task; of an environment the settings are checked, and it is not made: tests of environments do that."""
    if name != "gymnasium":
        return make_task(name, **settings)
    return GymTask(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})


def test_every_shipped_task_names_a_task_and_settings_that_exist():
    for label in groups()["task"]:
        entry = compose(SweepConfig, [f"task=[{label}]"]).config.tasks[label]
        task = made(entry.name, entry.settings)
        assert all(horizon % task.action_block == 0 for horizon in entry.horizons)
        assert Path(entry.world_model[0]).name in groups()["world_model"]


def test_every_shipped_planner_and_each_of_its_rules_holds_valid_settings():
    assert set(PLANNERS) <= set(groups()["planner"])
    for label in groups()["planner"]:
        spec = spec_of(compose(SweepConfig, [f"planner=[{label}]"]))
        for task in spec.tasks:
            for horizon in task.horizons:
                named = spec.planners[0].at(task, horizon)
                assert set(full_settings(named.name, named.as_dict())) == set(setting_kinds(named.name))


def test_every_rule_of_a_planner_is_for_a_task_that_exists():
    spec = spec_of(compose(SweepConfig, [f"planner=[{','.join(groups()['planner'])}]"]))
    names = {*groups()["task"], "wall", "point_maze", "push_t", None}
    assert {rule.task for planner in spec.planners for rule in planner.rules} <= names


def test_every_shipped_model_config_is_trainable():
    for name in groups()["world_model"]:
        config = compose(TrainConfig, [f"world_model={name}"]).config.world_model
        assert config.name == name
        made(config.task.name, config.task.settings)
        settings = PixelTrainSettings if config.kind == "jepa" else TrainSettings
        settings.of(config.train)


def test_every_shipped_sweep_makes_a_grid():
    for name in groups()["sweep"]:
        assert spec_of(compose(SweepConfig, [f"sweep={name}"])).name == name


def test_the_default_sweep_is_three_tasks_by_three_planners_by_two_horizons_with_eight_seeds():
    spec = spec_of(compose(SweepConfig))
    assert [task.task.name for task in spec.tasks] == ["wall", "point_maze", "push_t"]
    assert [planner.label for planner in spec.planners] == ["grasp", "cem", "gd"]
    assert all(len(task.horizons) == 2 for task in spec.tasks)
    assert len(spec.seeds) >= 8


@pytest.mark.parametrize("text", ["planner=grasp,cem", "planner=[grasp,cem]"])
def test_commas_and_lists_choose_several(text):
    assert list(compose(SweepConfig, [text]).config.planners) == ["grasp", "cem"]


def test_one_word_chooses_one():
    assert list(compose(SweepConfig, ["task=push_t"]).config.tasks) == ["push_t"]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("seeds=16", tuple(range(16))),
        ("seeds=[3,4]", (3, 4)),
        ("seeds=3,4", (3, 4)),
        ("seeds=range(2,5)", (2, 3, 4)),
        ("seed=7", (7,)),
        ("seeds.start=100", tuple(range(100, 108))),
        ("seeds.count=2", (0, 1)),
        ("seeds={start:5,count:2}", (5, 6)),
    ],
)
def test_seeds_are_a_count_a_list_or_a_start_and_a_count(text, seeds):
    assert spec_of(compose(SweepConfig, [text])).seeds == seeds


@pytest.mark.parametrize(
    ("texts", "modes"),
    [
        ([], ("open_loop",)),
        (["mode=mpc:10"], ("mpc:10",)),
        (["mode=open_loop,mpc:10"], ("open_loop", "mpc:10")),
        (["mode=[open_loop,mpc:10]"], ("open_loop", "mpc:10")),
    ],
)
@pytest.mark.parametrize("kind", [SweepConfig, PlanConfig])
def test_modes_are_one_or_several(kind, texts, modes):
    assert spec_of(compose(kind, texts)).modes == modes


def test_a_setting_of_the_command_line_wins_over_files_and_rules(tmp_path):
    planner = tmp_path / "planner"
    planner.mkdir()
    (planner / "tuned.yaml").write_text(
        "# @package planners.tuned\nname: gd\nsettings: {iterations: 10}\n"
        "overrides:\n- {task: wall, settings: {iterations: 20}}\n- {task: wall, horizon: 50, settings: {lr: 0.5}}\n",
        encoding="utf-8",
    )

    def settings(*overrides):
        spec = spec_of(compose(SweepConfig, ["task=wall,push_t", "planner=tuned", *overrides], tmp_path), tmp_path)
        wall, push_t = spec.tasks
        planner = spec.planners[0]
        return [planner.at(wall, 25).as_dict(), planner.at(wall, 50).as_dict(), planner.at(push_t, 50).as_dict()]

    assert settings() == [{"iterations": 20}, {"iterations": 20, "lr": 0.5}, {"iterations": 10}]
    assert [s["iterations"] for s in settings("planners.tuned.settings.iterations=7")] == [7, 7, 7]


def test_a_folder_of_the_users_own_configs_adds_options(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /task: [wall_deep]\n  - override /planner: [gd]\n"
        "name: mine\nseeds: [5]\nhorizons: [100]\n",
        encoding="utf-8",
    )
    spec = spec_of(compose(SweepConfig, ["sweep=mine"], tmp_path), tmp_path)
    assert (spec.name, spec.seeds) == ("mine", (5,))
    assert [(task.label, task.horizons) for task in spec.tasks] == [("wall_deep", (100,))]
    with pytest.raises(UserError, match="is not a folder"):
        compose(SweepConfig, [], tmp_path / "missing")


def test_values_with_spaces_and_quotes_survive():
    assert compose(SweepConfig, ["output='/tmp/a b/it\\'s'"]).config.output == Path("/tmp/a b/it's")


def test_the_text_of_a_config_composes_to_the_config():
    composed = compose(SweepConfig, ["planner=gd", "seeds=[1,2]"])
    assert re.search(r"seeds:\n- 1\n- 2\n", composed.text)


@pytest.mark.parametrize(
    ("override", "kind", "near"),
    [
        ("planner=graps", "planner 'graps'", "'grasp'"),
        ("planner=[grasp,cme]", "planner 'cme'", "'cem'"),
        ("task=wal", "task 'wal'", "'wall'"),
        ("sweep=defalt", "sweep 'defalt'", "'default'"),
        ("backend=rya", "backend 'rya'", "'ray'"),
        ("sedes=3", "config key 'sedes'", "'seeds'"),
        ("backend.num_worker=3", "config key 'backend.num_worker'", "'backend.num_workers'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(override, kind, near):
    with pytest.raises(UnknownNameError) as caught:
        compose(SweepConfig, [override])
    assert kind in str(caught.value)
    assert near in str(caught.value)


@pytest.mark.parametrize("override", ["planner=[grasp,grasp]", "task=wall,wall"])
def test_options_given_twice_are_refused(override):
    with pytest.raises(UserError, match="twice"):
        compose(SweepConfig, [override])


@pytest.mark.parametrize("override", ["horizons=[", "seeds", "=3", "planner=glob(*)", "seeds=interval(0,1)"])
def test_unreadable_configs_are_refused_in_one_sentence(override):
    with pytest.raises(UserError) as caught:
        compose(SweepConfig, [override])
    assert "\n" not in str(caught.value)


def test_conf_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compose(SweepConfig).config.name == "default"
    assert not list(Path.cwd().iterdir())
