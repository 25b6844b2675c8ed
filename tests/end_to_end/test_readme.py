"""The examples of the documentation work as they stand and stay short, and so does the README."""

import importlib
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

from sweeps.cli.main import main
from sweeps.config.compose import compose
from sweeps.config.grid import spec_of
from sweeps.config.schema.configs import SweepConfig
from tests.support.plugins import GLIDER, clean_plugins
from world_models.tasks import Task, execute
from world_models.tasks.base import pose_of

QUICK_PIXELS = {
    "trajectories": 20,
    "length": 20,
    "size": 32,
    "model": {"latent": 6, "encoder_width": 8, "width": 16, "depth": 1},
    **{stage: {"steps": 30, "batch_size": 8} for stage in ("encoder", "predictor", "temporal", "probe")},
}
"""Settings that train the example task from pictures in seconds."""

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("sweeps.md", "extending.md"))
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGES, re.DOTALL))


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Imports the Python files of the examples, from a folder that worker processes see too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def load(path: str) -> types.ModuleType:
        name = f"example_{Path(path).stem}"
        (folder / f"{name}.py").write_text(FILES[path], encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


@pytest.fixture
def conf(tmp_path):
    """The `my_conf` of the examples, with its model in this test's folder."""
    for path, text in FILES.items():
        if path.startswith("my_conf/"):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("outputs/", f"{tmp_path}/outputs/"), encoding="utf-8")
    return tmp_path / "my_conf"


def test_every_example_is_shorter_than_forty_lines():
    assert len(FILES) == 7
    for path, text in FILES.items():
        assert len([line for line in text.splitlines() if line.strip()]) < 40, path


def test_the_readme_is_short_and_its_first_screen_has_picture_commands_and_table():
    lines = README.splitlines()
    assert len(lines) < 200
    first = "\n".join(lines[:40])
    assert re.search(r"^!\[", first, re.MULTILINE)
    assert "    make sweep" in first
    assert "    make ui" in first
    assert re.search(r"^\|---", first, re.MULTILINE)
    assert first.index("|---") < first.index("## Five things to do next")


def test_the_sweep_is_a_grid(conf):
    spec = spec_of(compose(SweepConfig, ["sweep=long_wall"], conf), conf)
    assert [task.label for task in spec.tasks] == ["wall", "wall_deep"]
    assert (len(spec.seeds), spec.tasks[0].horizons) == (32, (50, 100))


def test_the_task_keeps_the_contract(module):
    task = module("glide.py").Glide()
    assert isinstance(task, Task)
    problems = [task.problem(seed, 20) for seed in range(8)]
    assert execute(task, problems, np.stack([p.reference_actions for p in problems])).success.all()
    assert np.array_equal(task.problem(3, 20).goal, problems[3].goal)
    assert task.render(problems[0].start).shape == (64, 64, 3)
    assert pose_of(task, problems[0].start).shape == (2,)


def test_the_model_is_planned_with_as_it_is(module):
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(compile(FILES["my_model.py"], "my_model.py", "exec"), scope)
    assert scope["plans"].actions.shape == (8, 30, 2)


@pytest.fixture
def home(conf, monkeypatch):
    """The folder of the examples' files, in which commands are typed."""
    for path, text in FILES.items():
        if path.endswith(".py"):
            (conf.parent / path).write_text(text, encoding="utf-8")
    monkeypatch.chdir(conf.parent)
    with clean_plugins():
        yield conf.parent


def test_files_are_named_where_names_are_asked_for(home, capsys):
    words = ["task=./glide.py:Glide", "world_model=./my_model.py:Ice", "planner=gd,./climbing.py:Climbing", "horizons=[20]"]
    quick = [
        "planners.Climbing.settings.samples=20",
        "planners.Climbing.settings.iterations=3",
        "planners.gd.settings.iterations=3",
    ]
    off = ["backend=inline", "tracking.enabled=false", "artifacts.cells=[]", "seeds=2"]
    assert main(["sweep", "--quiet", *words, *quick, *off]) == 0
    assert re.search(r"Glide +20 +Climbing", capsys.readouterr().out)


def test_the_task_is_learnt_and_planned_with_the_new_planner(home, conf, capsys):
    assert main(["train", "glide", "--conf", str(conf), "train.trajectories=50", "train.fit.steps=[60,20]"]) == 0
    assert main(["plan", "--conf", str(conf), "task=glide", "planner=climbing", "seed=1"]) == 0
    said = capsys.readouterr().out
    assert "climbing: iterations 20, samples 200, else defaults" in said
    assert (conf.parent / "outputs" / "plans" / "glide-climbing-H20-seed1.gif").is_file()
    recipe = {"name": "glide_pixels", "kind": "jepa", "task": {"target": "./glide.py:Glide"}, "train": QUICK_PIXELS}
    (conf / "world_model" / "glide_pixels.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert main(["train", "glide_pixels", "--conf", str(conf), f"out={conf.parent}/models"]) == 0
    model = f"world_model={conf.parent}/models/glide_pixels"
    settings = [f"planners.gd.settings.{key}" for key in ("iterations=3", "attempts=1")]
    assert main(["plan", "--conf", str(conf), "task=glide", model, "planner=gd", *settings, "seed=2"]) == 0
    assert (conf.parent / "outputs" / "plans" / "glide-gd-H20-seed2.gif").is_file()


def test_configs_of_the_examples_are_yaml():
    for path, text in FILES.items():
        if path.endswith(".yaml"):
            assert yaml.safe_load(text)


def test_the_lines_of_code_that_a_user_writes_are_counted():
    """Formatted, without blank lines, of the package that ships as an example."""
    files = {name: (GLIDER / f"{name}.py").read_text(encoding="utf-8") for name in ("tasks", "models", "costs", "planners")}
    counted = {name: sum(1 for line in text.splitlines() if line.strip()) for name, text in files.items()}
    said = re.search(r"(\d+) for the task, (\d+) for the world\s+model, (\d+) for the goal cost, (\d+) for the planner", PAGES)
    assert said is not None
    assert [int(number) for number in said.groups()] == [*counted.values()]
    assert counted["tasks"] < 40
    assert counted["planners"] < 40
    assert counted["models"] < 60
