"""Import parts of other projects' checkouts, without their packages' own start-up and without what those parts do not use."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def dino_wm_push_t(checkout: Path) -> Any:
    """DINO-WM's class `PushTWrapper`."""
    _stand_in("gym", "gymnasium")
    for top, inner in (("einops", None), ("skimage", "transform"), ("matplotlib", "cm")):
        if top not in sys.modules and importlib.util.find_spec(top) is None:
            _empty(top, inner)
    sys.modules.setdefault("utils", ModuleType("utils")).__dict__.setdefault("aggregate_dct", None)
    _package("env", checkout / "env")
    return importlib.import_module("env.pusht.pusht_wrapper").PushTWrapper


def swm_push_t(checkout: Path) -> Any:
    """stable-worldmodel's class `PushT`. Its contact counter, which moves nothing, needs pymunk 7 and is left out before."""
    import pymunk

    if not hasattr(pymunk.Space, "on_collision"):
        setattr(pymunk.Space, "on_collision", lambda *_, **__: None)  # noqa: B010 - it has no such attribute to assign
    return _swm_environment(checkout, "pusht").PushT


def dino_wm_wall(checkout: Path) -> Any:
    """DINO-WM's class `WallEnvWrapper`."""
    _stand_in("gym", "gymnasium")
    if importlib.util.find_spec("torchvision") is None:
        _resize_of_torch()
    sys.modules.setdefault("utils", ModuleType("utils")).__dict__.setdefault("aggregate_dct", None)
    _package("env", checkout / "env")
    return importlib.import_module("env.wall.wall_env_wrapper").WallEnvWrapper


def swm_two_room(checkout: Path) -> Any:
    """stable-worldmodel's class `TwoRoomEnv`."""
    return _swm_environment(checkout, "two_room").TwoRoomEnv


def _swm_environment(checkout: Path, name: str) -> ModuleType:
    """stable-worldmodel's module of an environment, without the packages that its other parts need."""
    root = checkout / "stable_worldmodel"
    package = _package("stable_worldmodel", root)
    _package("stable_worldmodel.envs", root / "envs")
    _package(f"stable_worldmodel.envs.{name}", root / "envs" / name)
    utils = ModuleType("stable_worldmodel.utils")
    utils.get_in = _get_in  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[utils.__name__] = package.utils = utils  # pyright: ignore[reportAttributeAccessIssue]
    package.spaces = importlib.import_module("stable_worldmodel.spaces")  # pyright: ignore[reportAttributeAccessIssue]
    return importlib.import_module(f"stable_worldmodel.envs.{name}.env")


def dino_wm_point_maze(checkout: Path) -> tuple[Any, str]:
    """DINO-WM's class `PointMazeWrapper` and its U maze, on today's MuJoCo; its packages (mujoco-py, d4rl) need MuJoCo 2.1."""
    gym, envs, behind = (_hollow(name) for name in ("gym", "gym.envs", "gym.envs.mujoco"))
    gym.spaces, gym.envs, envs.mujoco = importlib.import_module("gymnasium.spaces"), envs, behind
    gym.utils = _hollow("gym.utils", EzPickle=type("EzPickle", (_Bare,), {}))
    behind.mujoco_env = _hollow("gym.envs.mujoco.mujoco_env", MujocoEnv=_MujocoEnv)
    _hollow("d4rl").offline_env = _hollow("d4rl.offline_env", OfflineEnv=type("OfflineEnv", (_Bare,), {}))
    sys.modules.setdefault("utils", ModuleType("utils")).__dict__.setdefault("aggregate_dct", None)
    _package("env", checkout / "env")
    _package("env.pointmaze", checkout / "env" / "pointmaze")
    found = importlib.import_module("env.pointmaze.maze_model")
    found.MazeEnv.set_marker = lambda _: None  # moves a mark that is drawn, by a function that MuJoCo's bindings lack
    return importlib.import_module("env.pointmaze.point_maze_wrapper").PointMazeWrapper, found.U_MAZE


class _Bare:
    """A base class that takes any arguments and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


class _MujocoEnv:
    """The part of gym's environments of mujoco-py that DINO-WM uses, on MuJoCo's own bindings."""

    def __init__(self, model_path: str, frame_skip: int) -> None:
        import gymnasium
        import mujoco

        self._mujoco: Any = mujoco
        self.frame_skip = frame_skip
        self.model = self._mujoco.MjModel.from_xml_path(model_path)
        self.data = self._mujoco.MjData(self.model)
        self.sim = self
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.observation_space = gymnasium.spaces.Box(-10.0, 10.0, (4,))

    def set_state(self, position: Any, velocity: Any) -> None:
        """Put the bodies into a state, and compute what follows from it."""
        self.data.qpos[:], self.data.qvel[:] = position, velocity
        self._mujoco.mj_forward(self.model, self.data)

    def do_simulation(self, control: Any, count: int) -> None:
        """Take steps with one control."""
        self.data.ctrl[:] = control
        for _ in range(count):
            self._mujoco.mj_step(self.model, self.data)


def _hollow(name: str, **content: object) -> Any:
    """A package made of what is given."""
    package = sys.modules[name] = ModuleType(name)
    package.__path__ = []
    package.__dict__.update(content)
    return package


def _resize_of_torch() -> None:
    """Stand in for torchvision's `Resize`, which calls the same filter of torch for tensors."""
    from torch.nn.functional import interpolate

    def resize(size: tuple[int, int]) -> Any:
        return lambda image: interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]

    _empty("torchvision", "transforms")
    setattr(sys.modules["torchvision.transforms"], "Resize", resize)  # noqa: B010 - a module made here


def _get_in(mapping: Any, path: list[str]) -> Any:
    for name in path:
        mapping = mapping[name]
    return mapping


def _package(name: str, folder: Path) -> ModuleType:
    """A package whose own start-up is left out."""
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not a folder: give the path of a checkout.")
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return package


def _stand_in(name: str, other: str) -> None:
    """Import another module under a name that is not installed."""
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = importlib.import_module(other)


def _empty(name: str, inner: str | None) -> None:
    """A package without content, and a module in it, for imports of what is not used."""
    package = sys.modules[name] = ModuleType(name)
    package.__path__ = []
    if inner is not None:
        module = sys.modules[f"{name}.{inner}"] = ModuleType(f"{name}.{inner}")
        setattr(package, inner, module)
