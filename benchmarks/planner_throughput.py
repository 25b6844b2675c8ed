"""How fast GRASP iterates: `python -m benchmarks.planner_throughput` (about a minute, one thread, CPU).

All is measured side by side in one run, on one thread, in short interleaved rounds of which the least disturbed counts.
- `ratio_T*`: milliseconds per iteration and problem of a plain serial loop over t with batch 1 (autograd through the model's
  layers, torch.optim.Adam: how the method is usually coded) over ours with 64 problems a batch. Same weights, same settings,
  noise included, no sync on both sides. `same_step_ratio_T*` lends the serial loop our frozen step as well.
- `gemm_share_T*`: our arithmetic rate over that of large matrix products. What counts as arithmetic are the matrix products
  of the model's forward pass and of the part of the backward pass that GRASP needs; everything else is overhead.
The last line is JSON.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from planners import GraspSettings, ModelProblems
from planners.grasp import GraspSearch
from planners.run import begin
from world_models.base import Context
from world_models.mlp import MLPConfig, ResidualMLP, StateGoalCost

BATCH = 64
HORIZONS = (10, 50, 200)
SETTINGS = GraspSettings(iterations=1_000_000, sync_every=0)
GEMM = 1024
ROUNDS = 60
ROUND_SECONDS = 0.05

ModelStep = Callable[[ResidualMLP, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Timing:
    """Seconds per iteration, the least disturbed round of each."""

    steps: int
    serial: float
    serial_same_step: float
    ours: float
    gemm: float

    @property
    def ratio(self) -> float:
        """The plain serial loop's time per problem over ours."""
        return self.serial / (self.ours / BATCH)

    @property
    def same_step_ratio(self) -> float:
        """The same for a serial loop that has our frozen step."""
        return self.serial_same_step / (self.ours / BATCH)

    def share(self, flops: float) -> float:
        """Our arithmetic rate over that of large matrix products."""
        return (flops * BATCH * self.steps / self.ours) / (2 * GEMM**3 / self.gemm)


def make_model() -> ResidualMLP:
    """The default residual MLP (3 x 256), random and frozen; a step moves a state a little, as in a trained model."""
    torch.manual_seed(0)
    model = ResidualMLP(MLPConfig(observation_dim=6, action_dim=2))
    model.delta_scale.fill_(0.05)
    return model.requires_grad_(False)


def make_problems(model: ResidualMLP, batch: int, steps: int) -> ModelProblems:
    """Random starts and goals."""
    start, goal = torch.randn(2, batch, *model.state_shape)
    bound = torch.ones(model.action_dim)
    return ModelProblems(Context.at(model, start), goal, steps, -bound, bound, StateGoalCost(torch.ones(*model.state_shape)))


def needed_flops(model: ResidualMLP) -> float:
    """Floating-point operations of the matrix products that one lifted state needs: forward, and backward to its action."""
    width, features, action = model.config.width, model.config.observation_dim, model.action_dim
    hidden = (model.config.depth - 1) * width * width
    forward = width * (features + action) + hidden + width * features
    backward = width * features + hidden + width * action
    return 2.0 * (forward + backward)


def plain_step(model: ResidualMLP, state: Tensor, action: Tensor) -> Tensor:
    """The model's step layer by layer, as autograd sees it in ordinary code."""
    return torch.addcmul(state, model.delta_scale, model.delta(state, action))


def frozen_step(model: ResidualMLP, state: Tensor, action: Tensor) -> Tensor:
    """The model's step as our planners call it."""
    return model.step(state.unsqueeze(1), action.unsqueeze(1))


class SerialLoop:
    """GRASP's lifted phase as it is usually coded: one problem, a Python loop over t, autograd, torch.optim.Adam."""

    def __init__(self, model: ResidualMLP, problems: ModelProblems, step: ModelStep) -> None:
        self._model, self._problems, self._step = model, problems, step
        start, goal = problems.context.last, problems.goal
        share = torch.arange(1, problems.steps).view(1, -1, 1) / problems.steps
        self.states = torch.lerp(start.unsqueeze(1), goal.unsqueeze(1), share).requires_grad_()
        self.actions = torch.zeros(1, problems.steps, model.action_dim, requires_grad=True)
        rates = ((self.states, SETTINGS.lr_states), (self.actions, SETTINGS.lr_actions))
        self._optimizer = torch.optim.Adam([{"params": [x], "lr": lr} for x, lr in rates])

    def loss(self) -> Tensor:
        """The reshaped loss; the state input is detached, the target is not."""
        model, problems = self._model, self._problems
        state, loss = problems.context.last, torch.zeros(())
        for t in range(problems.steps):
            predicted = self._step(model, state.detach(), self.actions[:, t])
            distance = problems.goal_cost(predicted, problems.goal).sum()
            loss = loss + SETTINGS.goal_weight * distance
            if t + 1 == problems.steps:
                return loss + distance
            state = self.states[:, t]
            loss = loss + (predicted - state).square().mean()
        return loss

    def step(self) -> None:
        """One update of states and actions, projection and noise."""
        self._optimizer.zero_grad()
        self.loss().backward()
        self._optimizer.step()
        with torch.no_grad():
            self.actions.clamp_(self._problems.low, self._problems.high)
            self.states.add_(torch.randn_like(self.states), alpha=float(SETTINGS.noise))


def batched(model: ResidualMLP, steps: int) -> Callable[[], None]:
    """One iteration of ours on `BATCH` problems, as the solve loop takes it."""
    search = GraspSearch(SETTINGS, begin(model, make_problems(model, BATCH, steps), range(BATCH)))
    done = iter(range(SETTINGS.iterations))

    def iterate() -> None:
        with torch.no_grad():
            search.step(next(done))

    return iterate


def seconds_per_call(function: Callable[[], object]) -> float:
    """Mean seconds a call over one short round: the thread's own, since others may use the machine at the same time."""
    calls, start = 0, time.thread_time()
    while (elapsed := time.thread_time() - start) < ROUND_SECONDS or calls == 0:
        function()
        calls += 1
    return elapsed / calls


def measure(model: ResidualMLP, steps: int) -> Timing:
    """Interleaved rounds at one plan length."""
    problem = make_problems(model, 1, steps)
    serial, same_step = (SerialLoop(model, problem, step) for step in (plain_step, frozen_step))
    ours = batched(model, steps)
    left, right = torch.randn(2, GEMM, GEMM)
    product = torch.empty(GEMM, GEMM)
    contestants = (serial.step, same_step.step, ours, lambda: torch.mm(left, right, out=product))
    for function in contestants:
        function()
    rounds = [[seconds_per_call(function) for function in contestants] for _ in range(ROUNDS)]
    return Timing(steps, *(min(column) for column in zip(*rounds, strict=True)))


def main() -> None:
    """Print a table and, as the last line, JSON."""
    torch.set_num_threads(1)
    model = make_model()
    parameters, flops = sum(p.numel() for p in model.parameters()), needed_flops(model)
    print(f"GRASP's lifted iteration, MLP with {parameters:,} parameters, {platform.machine()}, torch {torch.__version__}")
    print("   T  serial ms   ours ms   ratio  same step  GFLOP/s    GEMM  share   (ms per iteration and problem)")
    result: dict[str, float] = {}
    for steps in HORIZONS:
        timing = measure(model, steps)
        share, gemm = timing.share(flops), 2 * GEMM**3 / timing.gemm / 1e9
        times = f"{steps:>4} {1e3 * timing.serial:>10.2f} {1e3 * timing.ours / BATCH:>9.4f} {timing.ratio:>7.1f}"
        print(f"{times} {timing.same_step_ratio:>10.1f} {share * gemm:>8.1f} {gemm:>7.1f} {share:>6.2f}")
        result[f"ratio_T{steps}"] = round(timing.ratio, 1)
        result[f"same_step_ratio_T{steps}"] = round(timing.same_step_ratio, 1)
        result[f"gemm_share_T{steps}"] = round(share, 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
