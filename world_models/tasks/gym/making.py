"""Making an environment by its id, without the wrappers that end or check episodes, and what goes wrong in sentences."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any

from world_models.errors import UserError, brief, require

HOMES = {
    "gymnasium_robotics": ("AdroitHand", "AntMaze", "Fetch", "FrankaKitchen", "Hand", "PointMaze", "MaMuJoCo"),
    "gym_pusht": ("gym_pusht/",),
    "ogbench": ("antmaze-", "antsoccer-", "cube-", "humanoidmaze-", "pointmaze-", "puzzle-", "scene-", "visual-"),
}
"""Packages that register ids when they are imported, by the beginnings of the ids."""


def make_env(name: str, kwargs: str) -> Any:
    """The environment, reset, with pictures where it has them; `kwargs` is JSON text. Raises UserError where it cannot."""
    gymnasium = gymnasium_package()
    _import_home(name)
    given: dict[str, Any] = {"disable_env_checker": True, "max_episode_steps": -1, **json.loads(kwargs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if "render_mode" not in given:
                modes = _modes(gymnasium, name)
                given |= {"render_mode": "rgb_array"} if "rgb_array" in modes else {}
            with _temporary_files_removed():
                env = import_module("world_models.tasks.gym.mending").Driven(gymnasium.make(name, **given))
                env.reset(seed=0)
            return env
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"environment {name!r} with kwargs {brief(kwargs)} cannot be made ({reason(error)}): "
                f"{_hint(gymnasium, name, error)}."
            ) from error


@contextmanager
def _temporary_files_removed() -> Iterator[None]:
    """Put temporary files into a folder that is removed: mazes of gymnasium-robotics leave theirs behind."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def reason(error: Exception) -> str:
    """An error of an environment in one line: its class, and its message or the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    said = " ".join(str(error).split()) or (frames[-1].line if frames else "") or "no message"
    return f"{type(error).__name__}: {said[:300]}"


def gymnasium_package() -> Any:
    """The package gymnasium, imported on first use; UserError names the installation where it is missing."""
    if importlib.util.find_spec("gymnasium") is None:
        raise UserError("task gymnasium needs the package gymnasium: pip install 'grasp-orchestrator[gymnasium]'.")
    return import_module("gymnasium")


def environment_id(name: object) -> str:
    """The id as text. Raises UserError for what is not one."""
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"id {brief(name)} is not a Gymnasium id: give one such as Pendulum-v1.")
    # A record or an archive may hold the id, and code is imported only where the user names it.
    require(
        ":" not in name,
        f"id {brief(name)} names a module, which an id may not: import it in a file of yours, with a function that returns "
        "world_models.tasks.gym.gym_task(id=..., **settings), and give that as task=./FILE.py:FUNCTION.",
    )
    return name


def kwargs_text(kwargs: object) -> str:
    """Keyword arguments of an environment as canonical JSON text. Raises UserError for what JSON cannot hold."""
    try:
        value = json.loads(kwargs) if isinstance(kwargs, str) else {} if kwargs is None else kwargs
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise TypeError("not a mapping of names")
        return json.dumps(dict(value), sort_keys=True, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"kwargs {brief(kwargs)} are not a mapping of names to numbers, texts, lists and mappings ({error}): "
            "give for example {g: 9.81}."
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not plain")


def renders(env: Any, uses_mujoco: bool) -> bool:
    """Whether an environment draws images in this process: MuJoCo's need MUJOCO_GL, as trying without may end the process."""
    return env.render_mode == "rgb_array" and (not uses_mujoco or bool(os.environ.get("MUJOCO_GL")))


def _import_home(name: str) -> None:
    for package, beginnings in HOMES.items():
        if name.startswith(beginnings):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"environment {name!r} needs the package {package}: pip install {package.replace('_', '-')}.")
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                import_module(package)
                if package == "gymnasium_robotics":
                    import_module("world_models.tasks.gym.mending").mend_joint_types()


def _modes(gymnasium: Any, name: str) -> tuple[str, ...]:
    """Ways of rendering that the environment's class names."""
    entry = gymnasium.spec(name).entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    metadata = getattr(creator, "metadata", None)
    return tuple(metadata.get("render_modes", ())) if isinstance(metadata, Mapping) else ()


def _hint(gymnasium: Any, name: str, error: Exception) -> str:
    from difflib import get_close_matches

    if isinstance(error, AssertionError):
        return "check its id and kwargs, and that its packages fit each other's versions"
    if isinstance(error, gymnasium.error.DependencyNotInstalled | ImportError):
        return "install the package that it names"
    if isinstance(error, gymnasium.error.UnregisteredEnv):
        near = get_close_matches(name, list(gymnasium.registry), n=3, cutoff=0.6)
        return f"did you mean {' or '.join(near)}" if near else "give a registered id"
    return "check its id and kwargs"
