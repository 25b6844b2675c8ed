"""Import parts of other projects' checkouts, without their packages' own start-up and without what those parts do not use."""

from __future__ import annotations

import importlib
import importlib.machinery
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
    for top, inner in (("einops", ()), ("skimage", ("transform",)), ("matplotlib", ("cm",))):
        if importlib.util.find_spec(top) is None:
            hollow(top, **{name: hollow(f"{top}.{name}") for name in inner})
    _dino_wm_environments(checkout)
    return importlib.import_module("env.pusht.pusht_wrapper").PushTWrapper


def swm_push_t(checkout: Path) -> Any:
    """stable-worldmodel's class `PushT`. Its contact counter, which moves nothing, needs pymunk 7 and is left out before."""
    import pymunk

    if int(pymunk.version.partition(".")[0]) < 7:
        setattr(pymunk.Space, "on_collision", lambda *_, **__: None)  # noqa: B010 - it has no such attribute to assign
    return _swm_environment(checkout, "pusht").PushT


def dino_wm_wall(checkout: Path) -> Any:
    """DINO-WM's class `WallEnvWrapper`."""
    _stand_in("gym", "gymnasium")
    if importlib.util.find_spec("torchvision") is None:
        # Its `Resize` calls the same filter of torch for tensors.
        hollow("torchvision", transforms=hollow("torchvision.transforms", Resize=_resize))
    _dino_wm_environments(checkout)
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
    package.utils = hollow("stable_worldmodel.utils", get_in=_get_in)
    package.spaces = importlib.import_module("stable_worldmodel.spaces")
    return importlib.import_module(f"stable_worldmodel.envs.{name}.env")


def dino_wm_point_maze(checkout: Path) -> tuple[Any, str]:
    """DINO-WM's class `PointMazeWrapper` and its U maze, on today's MuJoCo; its packages (mujoco-py, d4rl) need MuJoCo 2.1."""
    behind = hollow("gym.envs.mujoco", mujoco_env=hollow("gym.envs.mujoco.mujoco_env", MujocoEnv=_MujocoEnv))
    utils = hollow("gym.utils", EzPickle=type("EzPickle", (_Bare,), {}))
    spaces = importlib.import_module("gymnasium.spaces")
    hollow("gym", spaces=spaces, envs=hollow("gym.envs", mujoco=behind), utils=utils)
    hollow("d4rl", offline_env=hollow("d4rl.offline_env", OfflineEnv=type("OfflineEnv", (_Bare,), {})))
    _dino_wm_environments(checkout)
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


def hollow(name: str, **content: object) -> Any:
    """A package made of what is given, for imports of what is not installed."""
    package = sys.modules[name] = ModuleType(name)
    package.__path__ = []
    package.__spec__ = importlib.machinery.ModuleSpec(name, None)
    package.__dict__.update(content)
    return package


def _resize(size: tuple[int, int]) -> Any:
    from torch.nn.functional import interpolate

    return lambda image: interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]


def _dino_wm_environments(checkout: Path) -> None:
    """DINO-WM's package of environments, and the name that they take from its `utils`."""
    sys.modules.setdefault("utils", ModuleType("utils")).__dict__.setdefault("aggregate_dct", None)
    _package("env", checkout / "env")


def _get_in(mapping: Any, path: list[str]) -> Any:
    for name in path:
        mapping = mapping[name]
    return mapping


def _package(name: str, folder: Path) -> Any:
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
