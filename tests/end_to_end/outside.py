"""A package of a user's own beside our wheel, in an environment without this checkout: the example, installed and used by name.

Not collected by itself, because it takes minutes: `make test-long` runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICK = ("horizons=[20]", "seeds=2", "tracking.enabled=false", "artifacts.cells=[]", "--quiet")
WORDS = (
    *("task=glide", "world_model=ice", "planner=gd,climbing", "goal_costs=[state,position]"),
    *("planners.climbing.settings.iterations=3", "planners.climbing.settings.samples=20", "planners.gd.settings.iterations=3"),
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with our wheel and the example's; libraries are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    wheels = tmp_path_factory.mktemp("wheels")
    left_out = shutil.ignore_patterns(".*", "outputs", "shared", "build", "dist", "*.egg-info", "__pycache__")
    for source in (ROOT, ROOT / "examples" / "outside"):
        copy = tmp_path_factory.mktemp("source") / "copy"
        shutil.copytree(source, copy, ignore=left_out)
        words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run([*words, "-w", wheels, copy], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched after the environment's own packages, and its own .pth files are not read: this
    # checkout, which is installed there by one, is out of sight.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*install, *wheels.glob("*.whl")], check=True)
    return folder


def grasp(environment: Path, cwd: Path, *words: str, code: int = 0, **variables: str) -> str:
    """The output of a command typed in a folder, with nothing of this process's paths."""
    kept = variables | {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    command = [environment / "bin" / "grasp", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=kept, timeout=400, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_our_packages_are_the_wheel_s(environment: Path, home: Path) -> None:
    code = "import sweeps, glider, world_models; print(sweeps.__file__, glider.__file__, world_models.__file__)"
    done = subprocess.run([environment / "bin" / "python", "-c", code], cwd=home, capture_output=True, text=True, check=True)
    assert done.stdout.count(str(environment)) == 3


def test_it_is_listed_swept_on_ray_reported_and_run_again_by_name(environment: Path, home: Path) -> None:
    listed = grasp(environment, home, "plugins")
    for name in ("glide", "ice", "position", "climbing"):
        assert f"{name} " in listed
    said = grasp(environment, home, "sweep", *WORDS, *QUICK, "backend.num_workers=2")
    assert "climbing position" in said
    assert "climbing position" in grasp(environment, home, "report")
    again = grasp(environment, home, "sweep", "--dry-run", *WORDS, *QUICK)
    assert "new      0 cells" in again
    import pyarrow.dataset as ds

    table = ds.dataset(home / "outputs" / "ledger", format="parquet", exclude_invalid_files=True).to_table()
    assert set(table["status"].to_pylist()) == {"completed"}
    assert all(code is not None for code in table["code"].to_pylist())
    cell = next(row["cell_id"] for row in table.to_pylist() if row["planner"] == "climbing")
    assert "agrees" in grasp(environment, home, "rerun", cell)
    grasp(environment, home, "export", "default", "--to", "a.zip")
    grasp(environment, home, "import", "a.zip", "output=elsewhere")
    assert "climbing position" in grasp(environment, home, "report", "output=elsewhere")


def test_it_is_tuned_with_its_own_space(environment: Path, home: Path) -> None:
    space = home / "conf" / "space" / "climbing.yaml"
    space.parent.mkdir(parents=True)
    space.write_text("# @package space\nstd: {low: 0.1, high: 1.0}\n", encoding="utf-8")
    small = (
        "trials=2",
        "top=1",
        "seeds.count=2",
        "choice_seeds.count=2",
        "held_out.count=2",
        "backend=inline",
        "horizons=[20]",
    )
    own = ("task=glide", "world_model=ice", "planner=climbing", "planner.iterations=2", "planner.samples=10", "name=short")
    said = grasp(environment, home, "tune", "--conf", "conf", *own, *small, "tracking.enabled=false")
    assert "short" in said


RECIPE = """\
name: learned_ice
task: {name: glide, settings: {}}
train: {trajectories: 60, length: 30, width: 32, fit: {unrolls: [1, 4], steps: [120, 40]}}
"""


def test_its_dynamics_are_learned_and_planned_with(environment: Path, home: Path) -> None:
    recipe = home / "conf" / "world_model" / "learned_ice.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE, encoding="utf-8")
    grasp(environment, home, "train", "learned_ice", "--conf", "conf")
    model = home / "outputs" / "models" / "learned_ice"
    assert (model / "card.json").is_file()
    said = grasp(environment, home, "sweep", "task=glide", f"world_model={model}", "planner=climbing", *QUICK, "backend=inline")
    assert "climbing" in said


CELLS = (
    """import grasp_orchestrator as grasp
from dataclasses import dataclass
import numpy as np
from world_models.tasks.simple import SimpleTask
from planners.methods.random_shooting import RandomShooting

@grasp.register("task", "slide")
@dataclass(frozen=True)
class Slide(SimpleTask):
    name, action_dim, observation_dim = "slide", 2, 4
    tolerance = (0.2, 0.2, np.inf, np.inf)
    def start(self, rng):
        return np.concatenate([rng.uniform(-2, 2, 2), rng.normal(0, 0.1, 2)])
    def step(self, states, actions):
        velocity = 0.95 * states[:, 2:] + 0.02 * actions
        return np.concatenate([states[:, :2] + velocity, velocity], 1)

@grasp.register("planner", "shooting")
class Shooting(RandomShooting):
    pass
""",
    """found = grasp.sweep(
    "horizons=[20]", "seeds=2", "tracking.enabled=false", "artifacts.cells=[]", "backend.num_workers=2",
    "planners.shooting.settings.samples=20", task="slide", world_model="ice", planner="shooting", quiet=True,
)
frame = found.cells()
assert list(frame["status"]) == ["completed"] * 2, frame
print("planned by", set(frame["planner"]))
""",
)
"""A notebook with a task and a planner of its own, and a world model of an installed package."""


def test_a_notebook_s_own_classes_are_planned_with_on_ray(
    environment: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    kernel = home / "jupyter" / "kernels" / "outside" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    command = [str(environment / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": command, "display_name": "outside", "language": "python"}), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(home / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    resources = {"metadata": {"path": str(home)}}
    NotebookClient(notebook, kernel_name="outside", timeout=280, resources=resources).execute()
    said = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert "planned by {'shooting'}" in said
