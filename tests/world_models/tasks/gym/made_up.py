"""Small environments, each with one property that matters to how its states are taken."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete


class Cart(gymnasium.Env):
    """A cart on a line. Its state is two attributes of numbers."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space: Any = Box(-np.inf, np.inf, (2,), np.float64)
    action_space: Any = Box(-2.0, 2.0, (1,))

    def __init__(self, drag: float = 0.1) -> None:
        self.drag = drag
        self.render_mode = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.position, self.speed = float(self.np_random.uniform(-1, 1)), 0.0
        return self.observed(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.speed = (1 - self.drag) * self.speed + 0.1 * float(np.ravel(action)[0]) + self.noise()
        self.position += 0.1 * self.speed
        return self.observed(), 0.0, self.position > 1.0, False, self.info()

    def observed(self) -> Any:
        return np.array([self.position, self.speed])

    def noise(self) -> float:
        return 0.0

    def info(self) -> dict:
        return {}


class SeededNoise(Cart):
    """A cart that is shaken by the environment's own generator."""

    def noise(self) -> float:
        return float(self.np_random.normal(0, 0.01))


class LooseNoise(Cart):
    """A cart that is shaken by a generator that no seed reaches."""

    loose = np.random.default_rng()

    def noise(self) -> float:
        return float(self.loose.normal(0, 0.01))


class Hiding(Cart):
    """A cart whose state is in an object."""

    class Body:
        position: float
        speed: float

    body = property(lambda self: self.__dict__["held"][0])
    position = property(lambda self: self.body.position, lambda self, x: setattr(self.body, "position", x))
    speed = property(lambda self: self.body.speed, lambda self, x: setattr(self.body, "speed", x))

    def __init__(self) -> None:
        self.held = [Hiding.Body()]
        super().__init__()


class Declaring(Hiding):
    """The same, with a pair of methods that give and take it."""

    def get_state(self) -> dict[str, float]:
        return {"x": self.position, "v": self.speed}

    def set_state(self, state: dict[str, float]) -> None:
        self.position, self.speed = state["x"], state["v"]


class Judging(Cart):
    """A cart that tells in info whether it is right of a hidden line, which each reset draws anew."""

    lines: tuple[Any, ...] = ()
    observation_space = Dict(
        {
            "observation": Box(-np.inf, np.inf, (2,)),
            "desired_goal": Box(-np.inf, np.inf, (1,)),
            "picture": Box(0, 255, (64, 64, 3), np.uint8),
        }
    )

    def observed(self) -> Any:
        if not self.lines or self.speed == 0.0:
            self.lines = ("hidden", float(self.np_random.uniform(-1, 1)))
        here, line = np.array([self.position, self.speed]), np.array([self.lines[1]])
        return {"observation": here, "desired_goal": line, "picture": np.zeros((64, 64, 3), np.uint8)}

    def info(self) -> dict:
        return {"is_success": self.position > self.lines[1]}


class Skewed(Cart):
    """A cart that is pushed harder to the right."""

    action_space = Box(-2.0, 4.0, (1,))


class Unbounded(Cart):
    """A cart with any force."""

    action_space = Box(-np.inf, np.inf, (1,))


class Several(Cart):
    """A cart with two switches."""

    action_space = MultiDiscrete([2, 3])


class Choosing(Cart):
    """A cart pushed by one of three classes, which begin at 5."""

    action_space = Discrete(3, start=5)


class Image(Cart):
    """A cart seen as a picture only."""

    observation_space = Box(0, 255, (64, 64, 3), np.uint8)

    def observed(self) -> Any:
        return np.zeros((64, 64, 3), np.uint8)


class SharedStart(Cart):
    """A cart whose start is drawn from NumPy's and Python's shared generators, and from spaces old and new."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        drawn = [float(space.sample()[0]) for space in (self.action_space, Box(-1, 1, (1,)), Box(-1, 1, (1,)))]
        self.position = float(np.random.uniform(-1, 1)) + random.random() + sum(drawn)
        return self.observed(), {}


class LooseStart(Cart):
    """A cart whose start is drawn from a generator that no seed reaches."""

    loose = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.position = float(self.loose.uniform(-1, 1))
        return self.observed(), {}


class FixedStart(Cart):
    """A cart that begins where it always begins."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.position = 0.25
        return self.observed(), {}


class Filmed(Image):
    """A cart seen as a picture, a white column where it is, whose position and mass are told in info."""

    observation_space = Box(0, 255, (32, 32, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        return super().reset(seed=seed)[0], self.info()

    def observed(self) -> Any:
        picture = np.zeros((32, 32, 3), np.uint8)
        picture[:, int(np.clip(16 + 10 * self.position, 0, 31))] = 255
        return picture

    def info(self) -> dict:
        return {"where": np.array([self.position, self.speed]), "maker": "us"}


class FilmedToo(Filmed):
    """The same with a vector beside the picture."""

    observation_space = Dict({"camera": Filmed.observation_space, "wheel": Box(-9, 9, (1,), np.float64)})

    def observed(self) -> Any:
        return {"camera": super().observed(), "wheel": np.array([np.sin(9 * self.position)])}


KINDS = (
    SharedStart,
    FixedStart,
    LooseStart,
    Filmed,
    FilmedToo,
    Cart,
    SeededNoise,
    LooseNoise,
    Hiding,
    Declaring,
    Judging,
    Skewed,
    Unbounded,
    Several,
    Choosing,
    Image,
)


def register() -> None:
    """Register each as `MadeUp/NAME-v0`, with a time limit of ten steps."""
    for kind in KINDS:
        name = f"MadeUp/{kind.__name__}-v0"
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=kind, max_episode_steps=10)
