"""Small world models and problems to plan in: nothing is trained, and a plan takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from world_models.base import Context, SquaredDistance, WorldModel, takes_shorter_windows
from world_models.history import History
from world_models.models.analytic import DoubleIntegrator, LinearQuadratic, Pendulums
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.models.wrapped import Wrapped


@dataclass(frozen=True)
class Patches:
    """A world whose states are matrices, like the patch latents of a vision model: s' = 0.9 s + a_i in row i."""

    dtype: torch.dtype = torch.float32
    state_shape: tuple[int, ...] = (2, 3)
    action_dim: int = 2
    history: int = 1

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def encode(self, observation: Tensor) -> Tensor:
        """States are the observations."""
        return observation

    def step(self, states: Float[Tensor, "n 1 two three"], actions: Float[Tensor, "n 1 two"]) -> Float[Tensor, "n two three"]:
        """The next states."""
        return 0.9 * states[:, 0] + torch.tanh(actions[:, 0]).unsqueeze(-1)


@dataclass(frozen=True)
class Counting(Wrapped):
    """A world that counts the states it steps, call by call."""

    calls: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """States that were stepped."""
        return sum(self.calls)

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        """The other model's next states, counted."""
        self.calls.append(states.shape[0])
        return super().step(states, actions)


@dataclass(frozen=True, eq=False)
class Cliff(LinearQuadratic):
    """A linear world that gives NaN for strong actions."""

    def step(self, states: Float[Tensor, "n 1 state"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n state"]:
        """The next states; NaN where an action exceeds 0.3."""
        strong = actions[:, 0].abs().amax(1, keepdim=True) > 0.3
        return torch.where(strong, torch.nan, super().step(states, actions))


@dataclass(frozen=True)
class Chances:
    """A finite decision process whose states are the chances of being at each site.

    A class leads from each site to another by a random table, so a relaxed action leads to chances in between. Two environment
    steps make one model step.
    """

    dtype: torch.dtype = torch.float64
    sites: int = 12
    classes: int = 3
    history: int = 1

    @property
    def state_shape(self) -> tuple[int, ...]:
        """A chance per site."""
        return (self.sites,)

    @property
    def action_dim(self) -> int:
        """The classes of two environment steps."""
        return 2 * self.classes

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def leads(self) -> Float[Tensor, "class site site"]:
        """Chances of the sites after each class, for each site before."""
        table = torch.randint(self.sites, (self.classes, self.sites), generator=torch.Generator().manual_seed(3))
        return torch.nn.functional.one_hot(table, self.sites).to(self.dtype)

    def encode(self, observation: Tensor) -> Tensor:
        """States are the observations."""
        return observation

    def step(self, states: Float[Tensor, "n 1 site"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n site"]:
        """Chances after both environment steps."""
        site, leads = states[:, 0], self.leads
        for shares in ((actions[:, 0] + 1) / 2).split(self.classes, 1):
            site = torch.einsum("np,nc,cpq->nq", site, shares, leads)
        return site

    def problems(self, batch: int = 3, steps: int = 3) -> ModelProblems:
        """Problems with a site of its own as each start, and others as goals."""
        eye = torch.eye(self.sites, dtype=self.dtype)
        high = torch.ones(self.action_dim, dtype=self.dtype)
        goal = eye[[(5 * row + 7) % self.sites for row in range(batch)]]
        start = eye[[row % self.sites for row in range(batch)]]
        return ModelProblems(Context.at(self, start), goal, steps, -high, high, SiteCost(), self.classes)


@dataclass(frozen=True)
class SiteCost:
    """Squared distance of the mean position to the goal's, where sites are random points of the plane."""

    def __call__(self, states: Float[Tensor, "n site"], goals: Float[Tensor, "n site"]) -> Float[Tensor, " n"]:
        """The squared distance."""
        points = torch.randn(states.shape[1], 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        return ((states - goals) @ points.to(states)).square().sum(1)


@dataclass(frozen=True)
class Attending:
    """A world that attends to up to three states, by their positions in its window: it also takes shorter windows."""

    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    state_shape: tuple[int, ...] = (3,)
    action_dim: int = 2
    history: int = 3
    takes_shorter_windows: bool = True

    def encode(self, observation: Tensor) -> Tensor:
        """The observation is the state."""
        return observation.to(self.device, self.dtype)

    def step(self, states: Float[Tensor, "n k 3"], actions: Float[Tensor, "n k 2"]) -> Float[Tensor, "n 3"]:
        """Next states after windows of 1 to 3 states."""
        generator = torch.Generator().manual_seed(5)
        shapes = ((5, 4), (3, 4), (4,), (4, 3))
        inward, position, key, outward = (
            torch.randn(shape, generator=generator, dtype=torch.float64).to(states) for shape in shapes
        )
        seen = torch.tanh(torch.cat([states, 2 * actions], 2) @ inward + position[: states.shape[1]])
        weight = (seen @ key).softmax(1).unsqueeze(2)
        return states[:, -1] + 0.3 * ((weight * seen).sum(1) + seen[:, -1]) @ outward


def small_mlp(dtype: torch.dtype, seed: int = 0) -> ResidualMLP:
    """An untrained residual network of four features and two actions."""
    torch.manual_seed(seed)
    model = ResidualMLP(MLPConfig(observation_dim=4, action_dim=2, width=16))
    model.delta_scale.fill_(0.1)
    return model.to(dtype).requires_grad_(False)


WORLDS: dict[str, Callable[[torch.dtype], WorldModel]] = {
    "linear_quadratic": lambda dtype: LinearQuadratic.random(0, dtype=dtype),
    "scalar": lambda dtype: LinearQuadratic.random(0, 1, 1, dtype=dtype),
    "double_integrator": lambda dtype: DoubleIntegrator.make(dtype=dtype),
    "pendulums": lambda dtype: Pendulums(dtype=dtype),
    "patches": Patches,
    "attending": Attending,
    "mlp": small_mlp,
}
"""Makers by name."""


def problems_for(model: WorldModel, batch: int = 3, steps: int = 6, bound: float = 0.5, seed: int = 0) -> ModelProblems:
    """Random starts and goals; actions within [-bound, bound]. A model that takes shorter windows knows one state."""
    generator = torch.Generator().manual_seed(seed)
    start, goal = torch.randn(2, batch, *model.state_shape, generator=generator, dtype=torch.float64).to(model.dtype)
    high = torch.full((model.action_dim,), bound, dtype=model.dtype)
    context = History(takes_shorter_windows(model)).context(model, start.unsqueeze(1))
    return ModelProblems(context, goal, steps, -high, high, SquaredDistance())


def take(problems: ModelProblems, rows: list[int]) -> ModelProblems:
    """Problems by index, in that order."""
    return problems.rows(torch.tensor(rows, dtype=torch.int64))
