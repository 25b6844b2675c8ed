"""`import grasp_orchestrator as grasp`: what is public, that importing is light, and what is said of a package in the way."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import grasp_orchestrator

ROOT = Path(__file__).parents[2]
PACKAGES = ("world_models", "planners", "orchestrator", "sweeps")
HEAVY = {"ray", "mlflow", "optuna", "hydra", "omegaconf", "matplotlib", "pandas"}


def python(code: str, *folders: Path) -> str:
    """The output of code in a fresh process that looks into some folders first."""
    path = ":".join(map(str, (*folders, ROOT)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}, check=True
    )
    return done.stdout.strip()


def typed_names(module: str) -> set[str]:
    """Names that a module imports for type checkers, or otherwise."""
    source = import_module(module).__file__
    assert source is not None
    imports = [
        node for node in ast.walk(ast.parse(Path(source).read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    return {alias.asname or alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("name", ["grasp_orchestrator", *PACKAGES])
def test_every_public_name_is_there_and_known_to_type_checkers(name):
    module = import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for public in module.__all__:
        assert getattr(module, public) is not None
    defined = {key for key, value in vars(module).items() if getattr(value, "__module__", None) == name}
    defined |= {"PLANNERS", "BASELINES", "BUILT_IN"}
    assert set(module.__all__) <= typed_names(name) | defined
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = module.colour


def test_the_front_door_gives_what_the_packages_give():
    for name in grasp_orchestrator.__all__:
        homes = [import_module(package) for package in PACKAGES if name in import_module(package).__all__]
        assert [getattr(home, name) for home in homes] == [getattr(grasp_orchestrator, name)]


def test_planners_and_world_models_import_nothing_heavy():
    code = (
        "import sys, torch, numpy; before = set(sys.modules); import planners, world_models;"
        "print(*sorted(set(sys.modules) - before))"
    )
    more = python(code).split()
    assert len(more) <= 300
    assert not HEAVY & {name.split(".")[0] for name in more}


def test_the_front_door_and_the_suites_import_nothing_until_they_are_used():
    code = "import sys, grasp_orchestrator; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in python(code).split()}
    assert not loaded & {*HEAVY, *PACKAGES, "torch", "numpy"}
    code = "import sys, world_models.testing, planners.testing, orchestrator.testing; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in python(code).split()}
    assert not loaded & {"pytest", "_pytest", "ray", "mlflow", "optuna", "hydra"}


def foreign_sweeps(folder: Path) -> Path:
    """A distribution of another project that ships a package `sweeps`, installed in a folder."""
    package, info = folder / "sweeps", folder / "wandb_sweeps-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wandb-sweeps\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text("sweeps/__init__.py,,\nwandb_sweeps-1.0.dist-info/METADATA,,\n", encoding="utf-8")
    return folder


def test_another_distributions_package_in_the_way_is_named_in_one_sentence(tmp_path):
    code = (
        "import sys, grasp_orchestrator as grasp\n"
        "try:\n    grasp.sweep\nexcept ImportError as error:\n    print(error)\n"
        "sys.stderr = sys.stdout\nprint(grasp.main())"
    )
    said, printed, code_of_exit = python(code, foreign_sweeps(tmp_path / "first")).splitlines()
    assert said.startswith(f"Python found 'sweeps' in {tmp_path / 'first' / 'sweeps'}, that of the distribution 'wandb-sweeps'")
    assert said.endswith("uninstall the other one, or install grasp-orchestrator in an environment of its own.")
    assert (printed, code_of_exit) == (f"grasp: {said}", "2")


def test_a_package_that_another_distribution_has_overwritten_is_named_in_one_sentence(tmp_path):
    folder = foreign_sweeps(tmp_path / "site")
    (folder / "grasp_orchestrator.py").write_text(
        Path(grasp_orchestrator.__file__).read_text(encoding="utf-8"), encoding="utf-8"
    )
    code = "import grasp_orchestrator as grasp\ntry:\n    grasp.sweep\nexcept ImportError as error:\n    print(error)"
    assert python(code, folder).startswith(
        f"'sweeps' in {folder / 'sweeps'} was overwritten by that of the distribution 'wandb-sweeps': uninstall"
    )


def test_a_package_that_is_missing_is_named_in_one_sentence(tmp_path):
    (tmp_path / "grasp_orchestrator.py").write_text(
        Path(grasp_orchestrator.__file__).read_text(encoding="utf-8"), encoding="utf-8"
    )
    code = "import grasp_orchestrator as grasp\ntry:\n    grasp.sweep\nexcept ImportError as error:\n    print(error)"
    # Without site-packages, where the packages are.
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path, env={}, check=True)
    assert done.stdout.startswith("the package 'sweeps' is missing beside")
