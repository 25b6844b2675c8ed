"""Contents of the wheel: the front door, the four packages with their configs and models, and nothing else."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("world_models", "planners", "orchestrator", "sweeps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, without the network; its names."""
    source, out = tmp_path_factory.mktemp("source") / "copy", tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(".*", "outputs", "shared", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*words, "-w", out, source], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = out.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_holds_the_front_door_and_the_four_packages_and_nothing_else(wheel):
    folders = {name.split("/")[0] for name in wheel}
    assert folders == {*PACKAGES, "grasp_orchestrator.py", "grasp_orchestrator-0.1.0.dist-info"}


def test_each_package_says_that_it_is_typed(wheel):
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel)


def test_it_holds_every_module_config_and_model(wheel):
    for package in PACKAGES:
        kinds = (".py", ".yaml", ".json", ".safetensors", ".c", ".h")
        wanted = [path for path in (ROOT / package).rglob("*") if path.suffix in kinds]
        assert wanted
        assert {path.relative_to(ROOT).as_posix() for path in wanted} <= set(wheel)


def test_it_installs_the_command_and_cannot_be_uploaded_by_mistake(wheel):
    info = {
        name.split("/")[1]: data.decode() for name, data in wheel.items() if ".dist-info/" in name and "LICENSE" not in name
    }
    assert "grasp = grasp_orchestrator:main" in info["entry_points.txt"]
    assert "Classifier: Private :: Do Not Upload" in info["METADATA"]
    assert "License-Expression: Apache-2.0" in info["METADATA"]
    assert any(name.endswith("LICENSE") for name in wheel)


def test_models_are_small(wheel):
    assert all(len(data) < 4_000_000 for name, data in wheel.items() if "/zoo/" in name)


def test_every_dependency_is_pinned_to_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    named = {_plain(name) for name in pins}
    assert len(named) == len(lines)
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["docs"]]
    assert {_plain(re.split(r"[\[<>=]", requirement)[0]) for requirement in wanted} <= named
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins.values())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
