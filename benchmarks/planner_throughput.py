"""How fast GRASP iterates: `python -m benchmarks.planner_throughput` (about two minutes, one thread, CPU).

Everything is measured in one run on one thread, in short interleaved rounds of which the least disturbed counts.
- `ratio_T*`: milliseconds per iteration and problem of a plain serial loop over t with batch 1 (float32, autograd through the
  model's layers, torch.optim.Adam: how the method is usually coded) over ours with 64 problems per batch. Both use the same
  weights, settings and noise, and no sync. `same_step_ratio_T*` gives the serial loop our model step as well.
- `gemm_share_T*`: our arithmetic rate over that of large float32 matrix products. The matrix products of the model's forward
  pass, and of the part of the backward pass that GRASP needs, count as arithmetic; everything else is overhead. Ours runs at
  the planners' default precision: where that is pairs of bfloat16 on AMX tiles, the share may exceed 1, since another unit does
  the work. `gemm_share_bf16_T*` therefore compares the tile products with large bfloat16 matrix products.
- Keys with `_fp32`: ours held to float32 (precision `highest`), with torch's own matrix products.
- `sync_share`: the share of GRASP's time that its syncs take, with default settings at T = 50.
- `growth`: time per lifted iteration and time step at T = 200 over that at T = 50.
The last line is JSON.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from planners import GraspSettings, ModelProblems
from planners.methods.grasp import GraspSearch
from planners.search.search_run import begin
from world_models.base import Context
from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost
from world_models.native.mlp import mlp_kernel
from world_models.precision import matmul_precision

BATCH = 64
HORIZONS = (10, 50, 200)
SETTINGS = GraspSettings(iterations=1_000_000, sync_every=0)
WITH_SYNC = GraspSettings(iterations=1_000_000)
SYNC_STEPS = 50
ITERATIONS = 10
"""Iterations of ours per timed call."""
PRECISION = "high"
"""The planners' default."""
GEMM = 1024
ROUNDS = 30
ROUND_SECONDS = 0.05

ModelStep = Callable[[ResidualMLP, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Timing:
    """Seconds per iteration in the least disturbed round; for the matrix products, seconds per product."""

    steps: int
    serial: float
    serial_same_step: float
    ours: float
    ours_fp32: float
    gemm: float
    gemm_bf16: float

    def ratio(self, serial: float, ours: float) -> float:
        """A serial loop's time per problem over the batched one's."""
        return serial / (ours / BATCH)

    def share(self, flops: float, ours: float, gemm: float) -> float:
        """The batched loop's arithmetic rate over that of large matrix products."""
        return (flops * BATCH * self.steps / ours) / (2 * GEMM**3 / gemm)


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


def needed_flops(model: ResidualMLP, forward_terms: int = 1) -> float:
    """Floating-point operations of the matrix products that one lifted state needs: forward, and backward to its action.

    `forward_terms`: how many products one forward product is made of.
    """
    width, features, action = model.config.width, model.config.observation_dim, model.action_dim
    hidden = (model.config.depth - 1) * width * width
    forward = width * (features + action) + hidden + width * features
    backward = width * features + hidden + width * action
    return 2.0 * (forward_terms * forward + backward)


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
        """The reshaped loss: the state input is detached, the target is not."""
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
        """One update of states and actions, with projection and noise."""
        self._optimizer.zero_grad()
        self.loss().backward()
        self._optimizer.step()
        with torch.no_grad():
            self.actions.clamp_(self._problems.low, self._problems.high)
            self.states.add_(torch.randn_like(self.states), alpha=float(SETTINGS.noise))


def batched(model: ResidualMLP, steps: int, settings: GraspSettings, precision: str, iterations: int) -> Callable[[], None]:
    """A function that takes `iterations` of our iterations on `BATCH` problems, as `plan` does."""
    search = GraspSearch(settings, begin(model, make_problems(model, BATCH, steps), range(BATCH)))
    done = iter(range(settings.iterations))

    def iterate() -> None:
        with torch.no_grad(), matmul_precision(precision, model.device):
            for _ in range(iterations):
                search.step(next(done))

    return iterate


def seconds_per_call(function: Callable[[], object]) -> float:
    """Mean seconds per call over one short round, in thread time, since others may use the machine as well."""
    calls, start = 0, time.thread_time()
    while (elapsed := time.thread_time() - start) < ROUND_SECONDS or calls == 0:
        function()
        calls += 1
    return elapsed / calls


def least(candidates: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds per call of each candidate in its least disturbed round; the rounds are interleaved."""
    for function in candidates:
        function()
    rounds = [[seconds_per_call(function) for function in candidates] for _ in range(ROUNDS)]
    return [min(column) for column in zip(*rounds, strict=True)]


def measure(model: ResidualMLP, steps: int) -> Timing:
    """Timings of all candidates at one plan length."""
    problem = make_problems(model, 1, steps)
    serial, same_step = (SerialLoop(model, problem, step) for step in (plain_step, frozen_step))
    ours = [batched(model, steps, SETTINGS, precision, ITERATIONS) for precision in (PRECISION, "highest")]
    left, right = torch.randn(2, GEMM, GEMM)
    low_left, low_right = left.bfloat16(), right.bfloat16()

    def same_step_serial() -> None:
        with matmul_precision(PRECISION, model.device):
            same_step.step()

    products = (lambda: torch.mm(left, right), lambda: torch.mm(low_left, low_right))
    plain, same, high, fp32, *matrices = least((serial.step, same_step_serial, *ours, *products))
    return Timing(steps, plain, same, high / ITERATIONS, fp32 / ITERATIONS, *matrices)


def sync_shares(model: ResidualMLP) -> tuple[float, float]:
    """Share of the time that syncs take, at the default precision and in float32."""
    period = int(WITH_SYNC.sync_every)
    pairs = [(settings, precision) for precision in (PRECISION, "highest") for settings in (SETTINGS, WITH_SYNC)]
    without, whole, without_fp32, whole_fp32 = least([batched(model, SYNC_STEPS, *pair, period) for pair in pairs])
    return 1 - without / whole, 1 - without_fp32 / whole_fp32


def row(timing: Timing, flops: float, tile_flops: float) -> dict[str, float]:
    """Print one plan length as a line of the table and return its figures."""
    ratio, share = timing.ratio(timing.serial, timing.ours), timing.share(flops, timing.ours, timing.gemm)
    gemm = 2 * GEMM**3 / timing.gemm / 1e9
    times = f"{timing.steps:>4} {1e3 * timing.serial:>10.2f} {1e3 * timing.ours / BATCH:>9.4f} {ratio:>7.1f}"
    fp32 = timing.ratio(timing.serial, timing.ours_fp32)
    print(f"{times} {1e3 * timing.ours_fp32 / BATCH:>9.4f} {fp32:>7.1f} {share * gemm:>8.1f} {gemm:>7.1f} {share:>6.2f}")
    values = {
        "ratio": ratio,
        "same_step_ratio": timing.ratio(timing.serial_same_step, timing.ours),
        "gemm_share": share,
        "ratio_fp32": fp32,
        "gemm_share_fp32": timing.share(flops, timing.ours_fp32, timing.gemm),
        "gemm_share_bf16": timing.share(tile_flops, timing.ours, timing.gemm_bf16),
    }
    return {f"{name}_T{timing.steps}": round(value, 3) for name, value in values.items()}


def main() -> None:
    """Print a table and, as the last line, JSON."""
    torch.set_num_threads(1)
    model, found = make_model(), mlp_kernel()
    tiled = not isinstance(found, str) and found.unit.name == "amx"
    kernel = f"no kernel: {found}" if isinstance(found, str) else f"kernel in C on {found.unit.words}"
    parameters = sum(p.numel() for p in model.parameters())
    print(f"GRASP, lifted, MLP with {parameters:,} parameters, {platform.machine()}, torch {torch.__version__}, {kernel}")
    print("   T  serial ms   ours ms   ratio   fp32 ms   ratio  GFLOP/s    GEMM  share   (ms per iteration and problem)")
    flops, tile_flops = needed_flops(model), needed_flops(model, 3 if tiled else 1)
    timings = {steps: measure(model, steps) for steps in HORIZONS}
    result: dict[str, float] = {}
    for timing in timings.values():
        result |= row(timing, flops, tile_flops)
    shares = sync_shares(model)
    short, long = timings[50], timings[200]
    growth = (long.ours / short.ours / 4, long.ours_fp32 / short.ours_fp32 / 4)
    names = ("sync_share", "sync_share_fp32", "growth", "growth_fp32")
    result |= {name: round(value, 3) for name, value in zip(names, (*shares, *growth), strict=True)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
