"""Analytic worlds, mostly with known optimal plans, for testing planners and trying them out: nothing is learned here.

`LinearQuadratic` and `DoubleIntegrator` come with exact optima (Riccati recursion, least norm, bang-bang). `Pendulums` is a
small nonlinear world with a history of two. `WithEffort` charges a linear world for its actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.errors import require


@dataclass(frozen=True, eq=False)
class LinearQuadratic:
    """Linear world s_{t+1} = A s_t + B a_t, fully observed; optima of mean((s_T - goal)^2) + effort * sum of a^2 are known."""

    A: Float[Tensor, "state state"]
    B: Float[Tensor, "state action"]

    @staticmethod
    def random(
        seed: int,
        state_dim: int = 4,
        action_dim: int = 2,
        radius: float = 0.95,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> LinearQuadratic:
        """A controllable world whose A has spectral radius `radius` (below 1: stable), drawn from `seed`.

        Raises UserError for sizes below 1 or a radius that is not positive.
        """
        require(
            state_dim >= 1 and action_dim >= 1, f"sizes {state_dim} and {action_dim} of state and action: both must be >= 1."
        )
        require(radius > 0.0, f"spectral radius {radius} is not positive.")
        generator = torch.Generator().manual_seed(seed)
        while True:
            A = torch.randn(state_dim, state_dim, generator=generator, dtype=torch.float64)
            A *= radius / torch.linalg.eigvals(A).abs().max()
            B = torch.randn(state_dim, action_dim, generator=generator, dtype=torch.float64) / action_dim**0.5
            reach = reachability(A, B, state_dim)
            # A draw that is only barely controllable would make every test of optima ill-conditioned.
            if torch.linalg.svdvals(reach).min() > 1e-3:
                return LinearQuadratic(A.to(device, dtype), B.to(device, dtype))

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(rows of A,)`."""
        return (self.A.shape[0],)

    @property
    def action_dim(self) -> int:
        """Number of columns of B."""
        return self.B.shape[1]

    @property
    def history(self) -> int:
        """1: the state is Markov."""
        return 1

    @property
    def device(self) -> torch.device:
        """Device of A and B."""
        return self.A.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of A and B."""
        return self.A.dtype

    def encode(self, observation: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """The observation is the state."""
        return observation.to(self.device, self.dtype)

    def step(self, states: Float[Tensor, "n 1 state"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n state"]:
        """Next states A s + B a."""
        return states[:, -1] @ self.A.T + actions[:, -1] @ self.B.T

    def optimal(
        self, start: Float[Tensor, "batch state"], goal: Float[Tensor, "batch state"], steps: int, effort: float = 0.0
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch steps action"]]:
        """The minimum of mean((s_T - goal)^2) + effort * sum of a^2 over unbounded actions, and the actions that attain it.

        Computed by a Riccati recursion in float64. Without effort the optimum need not be unique; the one with the least norm
        at each step is returned.
        """
        A, B = self.A.double(), self.B.double()
        n = A.shape[0]
        x, g = start.double(), goal.double()
        P, q, c = torch.eye(n, dtype=A.dtype, device=A.device) / n, g / n, g.square().mean(1)
        gains: list[tuple[Tensor, Tensor]] = []
        for _ in range(steps):
            M = B.T @ P @ B + effort * torch.eye(B.shape[1], dtype=A.dtype, device=A.device)
            inverse = torch.linalg.pinv(M, atol=1e-12, rtol=1e-10, hermitian=True)
            gains.append((inverse @ B.T @ P @ A, q @ B @ inverse))
            c = c - ((q @ B) @ inverse * (q @ B)).sum(1)
            q = q @ A - q @ B @ inverse @ B.T @ P @ A
            P = A.T @ P @ A - A.T @ P @ B @ inverse @ B.T @ P @ A
        cost = ((x @ P) * x).sum(1) - 2.0 * (q * x).sum(1) + c
        actions = []
        for K, k in reversed(gains):
            actions.append(k - x @ K.T)
            x = x @ A.T + actions[-1] @ B.T
        return cost.clamp(min=0.0).to(self.dtype), torch.stack(actions, 1).to(self.dtype)

    def least_norm(
        self, start: Float[Tensor, "batch state"], goal: Float[Tensor, "batch state"], steps: int
    ) -> Float[Tensor, "batch steps action"]:
        """The actions with the least sum of squares that end at the goal (or as near as possible), in closed form."""
        A, B = self.A.double(), self.B.double()
        missing = goal.double() - start.double() @ torch.linalg.matrix_power(A, steps).T
        flat = missing @ torch.linalg.pinv(reachability(A, B, steps)).T
        return flat.unflatten(1, (steps, B.shape[1])).to(self.dtype)


def reachability(
    A: Float[Tensor, "state state"], B: Float[Tensor, "state action"], steps: int
) -> Float[Tensor, "state steps_times_action"]:
    """[A^(T-1) B, ..., A B, B]: the contribution to s_T of the concatenated actions a_0..a_{T-1}."""
    columns = [B]
    for _ in range(steps - 1):
        columns.append(A @ columns[-1])
    return torch.cat(columns[::-1], 1)


@dataclass(frozen=True, eq=False)
class DoubleIntegrator(LinearQuadratic):
    """A point pushed by accelerations a in `dims` directions, held for `dt` s: state (positions, velocities)."""

    dt: float = 0.1

    @staticmethod
    def make(
        dims: int = 2, dt: float = 0.1, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> DoubleIntegrator:
        """A double integrator in `dims` directions. Raises UserError for `dims` below 1 or a `dt` that is not positive."""
        require(dims >= 1, f"{dims} directions: a double integrator needs at least 1.")
        require(dt > 0.0, f"time step {dt} is not positive.")
        one, none = torch.eye(dims, dtype=dtype, device=device), torch.zeros(dims, dims, dtype=dtype, device=device)
        A = torch.cat([torch.cat([one, dt * one], 1), torch.cat([none, one], 1)])
        return DoubleIntegrator(A, torch.cat([0.5 * dt**2 * one, dt * one]), dt)

    def reach(self, steps: int) -> float:
        """Largest distance along one direction, from rest to rest, in `steps` steps with |a| <= 1."""
        return self.dt**2 * (steps**2 // 4)

    def fastest(self, distance: float) -> int:
        """Fewest steps to cover `distance` along one direction, from rest to rest, with |a| <= 1."""
        steps = 0
        while self.reach(steps) < abs(distance) * (1.0 - 1e-9):
            steps += 1
        return steps

    def bang_bang(self, steps: int) -> Float[Tensor, "steps action"]:
        """Actions that cover `reach(steps)` in every direction: full thrust, one zero if the count is odd, full brake."""
        half = steps // 2
        thrust = torch.cat([torch.ones(half), torch.zeros(steps % 2), -torch.ones(half)])
        return thrust.to(self.device, self.dtype)[:, None].expand(-1, self.action_dim)


@dataclass(frozen=True, eq=False)
class WithEffort:
    """A linear world with one more state feature: effort * (sum of squared actions so far).

    With `EffortCost` as goal cost, a planner that sees only the final state minimises the objective of
    `LinearQuadratic.optimal`.
    """

    world: LinearQuadratic
    effort: float

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(features of the world + 1,)`: the world's state and the accumulated effort."""
        return (self.world.state_shape[0] + 1,)

    @property
    def action_dim(self) -> int:
        """Action size of the world."""
        return self.world.action_dim

    @property
    def history(self) -> int:
        """1: the state is Markov."""
        return 1

    @property
    def device(self) -> torch.device:
        """Device of the world."""
        return self.world.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the world."""
        return self.world.dtype

    def encode(self, observation: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state_plus_one"]:
        """The world's states of the observations, with no effort spent."""
        state = self.world.encode(observation)
        return torch.cat([state, torch.zeros_like(state[:, :1])], 1)

    def step(
        self, states: Float[Tensor, "n 1 state_plus_one"], actions: Float[Tensor, "n 1 action"]
    ) -> Float[Tensor, "n state_plus_one"]:
        """The world's next states, with the actions' effort added."""
        following = self.world.step(states[..., :-1], actions)
        spent = states[:, -1, -1:] + self.effort * actions[:, -1].square().sum(1, keepdim=True)
        return torch.cat([following, spent], 1)


@dataclass(frozen=True)
class EffortCost:
    """Goal cost of `WithEffort`: mean squared difference of the world's state to the goal, plus the accumulated effort."""

    def __call__(self, states: Float[Tensor, "n state"], goals: Float[Tensor, "n state"]) -> Float[Tensor, " n"]:
        """Cost of each state against its goal, `[n]`; the goal's last feature is ignored."""
        return (states[:, :-1] - goals[:, :-1]).square().mean(1) + states[:, -1]


@dataclass(frozen=True)
class Pendulums:
    """Damped pendulums observed by their angles only, so that a step needs two states (history 2); actions are torques.

    q_{t+1} = q_t + damping (q_t - q_{t-1}) + dt^2 (strength (a_t + lag a_{t-1}) - sin q_t), for `dims` independent pendulums.
    """

    dims: int = 2
    dt: float = 0.2
    damping: float = 0.98
    strength: float = 2.0
    lag: float = 0.5
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def state_shape(self) -> tuple[int, ...]:
        """`(dims,)`: one angle per pendulum, rad."""
        return (self.dims,)

    @property
    def action_dim(self) -> int:
        """One torque per pendulum."""
        return self.dims

    @property
    def history(self) -> int:
        """2: two angles determine the velocity."""
        return 2

    def encode(self, observation: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """The observation is the state."""
        return observation.to(self.device, self.dtype)

    def step(self, states: Float[Tensor, "n 2 state"], actions: Float[Tensor, "n 2 action"]) -> Float[Tensor, "n state"]:
        """Next angles, by one Verlet step."""
        before, now = states[:, 0], states[:, 1]
        torque = self.strength * (actions[:, 1] + self.lag * actions[:, 0])
        return now + self.damping * (now - before) + self.dt**2 * (torque - now.sin())
