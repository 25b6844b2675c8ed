"""Execution of plans: open loop, or replanned from the simulator's states (MPC). A batch runs in lockstep.

Open loop is MPC whose first plan is executed to the end, so one loop serves both.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrator.evaluation.curves import cost_curve
from planners.base import ModelProblems, Planner, Plans, PlanStatus, Start
from planners.classes import executable
from planners.search.initialisers import linear
from world_models.base import Context, RememberingModel, WorldModel, remembered, rollout
from world_models.checkpoints.store import LoadedModel
from world_models.tasks import Problem, Rollout, Task, execute
from world_models.tasks.base import classes_of

_SEVERITY = (PlanStatus.REACHED, PlanStatus.COMPLETED, PlanStatus.OUT_OF_BUDGET, PlanStatus.NON_FINITE)
"""Statuses from best to worst."""


@dataclass(frozen=True)
class Execution:
    """The executed actions of a batch and their outcome; row i belongs to problem i."""

    actions: Float[np.ndarray, "batch horizon action"]
    """Environment actions; executed from the problem's start, they reproduce `rollout`."""
    rollout: Rollout
    predicted: Float[Tensor, "batch time *state"]
    """The model's states s_1..s_T, each as predicted by the plan that was executed then; the last is the last plan's end."""
    cost: Float[Tensor, " batch"]
    """Goal cost that the last plan predicted."""
    last_cost: Float[Tensor, " batch"]
    """Goal cost of the planner's last iterate, in the last plan."""
    status: tuple[PlanStatus, ...]
    """The worst status of a row's plans: non-finite, out of budget, completed or reached."""
    evaluations: Int[Tensor, " batch"]
    """Model steps of all plans."""
    costs: Float[np.ndarray, "batch samples"]
    """The `cost_curve` of the first plan."""
    seconds: float
    """Seconds spent on all plans of the batch."""


def plan_and_execute(
    task: Task,
    loaded: LoadedModel,
    planner: Planner,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    replan_every: int | None = None,
) -> Execution:
    """Plan problems of one horizon and execute the plans, replanning every `replan_every` environment steps (None: never).

    A replan sees the simulator's states and the rest of the horizon, and starts from the rest of the previous plan.
    """
    horizon, block = problems[0].horizon, task.action_block
    stride = horizon if replan_every is None else replan_every
    starts = np.stack([problem.start for problem in problems])
    goal = loaded.sensors.encode(loaded.model, task, np.stack([problem.goal for problem in problems]))
    actions, states = np.empty((len(problems), 0, task.action_dim)), starts[:, None]
    past = past_of(problems, block)
    plans, taken, seconds = None, 0, 0.0
    parts: list[tuple[Plans, int]] = []
    for number, done in enumerate(range(0, horizon, stride)):
        if done:
            # Simulated from the start, because a simulator may hold more than its states, such as Push-T's contacts.
            states = task.simulate(starts, np.clip(actions, -1.0, 1.0))
        posed = _posed(task, loaded, past, states, actions, goal, (horizon - done) // block)
        start = None if plans is None else _left_of(plans, taken, loaded.model, posed)
        began = time.perf_counter()
        plans = planner.plan(loaded.model, posed, [planning_seed(seed, number) for seed in seeds], start=start)
        plans = executable(loaded.model, posed, plans)
        # Copying to the host waits for the device, so the time includes all of the planning.
        planned = numpy_of(plans.actions)
        seconds += time.perf_counter() - began
        taken = min(stride, horizon - done) // block
        parts.append((plans, taken))
        actions = np.concatenate([actions, planned[:, :taken].reshape(len(problems), -1, task.action_dim)], 1)
    return _execution(parts, actions, execute(task, problems, actions), seconds)


@torch.no_grad()
def predicted_states(
    task: Task,
    loaded: LoadedModel,
    states: Float[np.ndarray, "batch time_plus_one simulator_state"],
    actions: Float[np.ndarray, "batch time action"],
    replan_every: int | None = None,
    past: Past | None = None,
) -> Float[Tensor, "batch model_time *state"]:
    """The model's states s_1..s_T for executed actions and the simulator states that they led to, after the problems' `past`.

    The model sees what the planner saw: the start, and for a replanned cell the states up to each replan. The result equals
    the `predicted` of its execution, without planning.
    """
    model, horizon, block = loaded.model, actions.shape[1], task.action_block
    stride = horizon if replan_every is None else replan_every
    parts = []
    for done in range(0, horizon, stride):
        context = _context(loaded, task, past, states[:, : done + 1], actions[:, :done])
        taken = actions[:, done : done + stride].reshape(len(actions), -1, block * task.action_dim)
        parts.append(rollout(model, context, torch.as_tensor(taken, dtype=model.dtype, device=model.device)))
    return torch.cat(parts, 1)


@dataclass(frozen=True)
class Past:
    """The simulator's states before the starts of a batch of problems, and the actions from there to the starts."""

    states: Float[np.ndarray, "batch past simulator_state"]
    """A model step apart."""
    actions: Float[np.ndarray, "batch past_steps action"]


def past_of(problems: Sequence[Problem], block: int) -> Past | None:
    """The past of problems, as long as the longest: before the others' nothing moved. None if none has a past."""
    known = [0 if problem.past_states is None else len(problem.past_states) for problem in problems]
    longest = max(known)
    if not longest:
        return None
    states, actions = [], []
    for problem, count in zip(problems, known, strict=True):
        path, taken = problem.start[None], np.zeros((0, problem.reference_actions.shape[1]))
        if problem.past_states is not None and problem.past_actions is not None:
            path, taken = np.concatenate([problem.past_states, path]), problem.past_actions
        missing = longest - count
        states.append(np.concatenate([np.repeat(path[:1], missing, 0), path[:-1]]))
        actions.append(np.concatenate([np.zeros((missing * block, taken.shape[1])), taken]))
    return Past(np.stack(states), np.stack(actions))


def planning_seed(seed: int, number: int) -> int:
    """The seed of a problem's noise in plan `number`; the first plan (number 0) has the cell's own."""
    if number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/planning {number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "little")


def numpy_of(tensor: Tensor) -> np.ndarray:
    """The tensor as a float64 array on the host."""
    return tensor.detach().to("cpu", torch.float64).numpy()


def _posed(
    task: Task,
    loaded: LoadedModel,
    past: Past | None,
    states: Float[np.ndarray, "batch time_plus_one simulator_state"],
    actions: Float[np.ndarray, "batch time action"],
    goal: Float[Tensor, "batch *state"],
    steps: int,
) -> ModelProblems:
    """The problems after some environment steps, with `steps` model steps left."""
    model = loaded.model
    bound = torch.ones(model.action_dim, dtype=model.dtype, device=model.device)
    return ModelProblems(
        context=_context(loaded, task, past, states, actions),
        goal=goal,
        steps=steps,
        low=-bound,
        high=bound,
        goal_cost=loaded.goal_cost,
        classes=classes_of(task),
    )


def _context(
    loaded: LoadedModel,
    task: Task,
    past: Past | None,
    states: Float[np.ndarray, "batch time_plus_one simulator_state"],
    actions: Float[np.ndarray, "batch time action"],
) -> Context:
    """The last `history` states, a model step apart, and the actions between them; before the past everything stood still.

    A model that remembers more than those sees everything since the start.
    """
    model = loaded.model
    whole = states[:, :: task.action_block]
    if past is not None:
        whole, actions = np.concatenate([past.states, whole], 1), np.concatenate([past.actions, actions], 1)
    seen = whole if isinstance(model, RememberingModel) else whole[:, -model.history :]
    batch, known = seen.shape[:2]
    encoded = loaded.sensors.encode(model, task, seen.reshape(batch * known, -1)).unflatten(0, (batch, known))
    still = Context.at(model, encoded[:, 0])
    if known == 1:
        return still
    recent = actions.reshape(batch, -1, model.action_dim)[:, 1 - known :]
    taken = torch.as_tensor(recent, dtype=model.dtype, device=model.device)
    with torch.no_grad():
        path = remembered(model, encoded, taken)
    return Context(
        torch.cat([still.states, path[:, 1:]], 1)[:, -model.history :],
        torch.cat([still.actions, taken], 1)[:, taken.shape[1] :],
    )


def _left_of(plans: Plans, taken: int, model: WorldModel, problems: ModelProblems) -> Start:
    """A start from the rest of the plans; a row whose rollout became non-finite starts afresh."""
    left = plans.after(taken)
    sound = torch.isfinite(left.actions).flatten(1).all(1) & torch.isfinite(left.states).flatten(1).all(1)
    fresh = linear(model, problems)

    def sound_or_fresh(old: Tensor, new: Tensor) -> Tensor:
        return torch.where(sound.view(-1, *[1] * (old.ndim - 1)), old, new)

    return Start(sound_or_fresh(left.actions, fresh.actions), sound_or_fresh(left.states, fresh.states))


def _execution(
    parts: Sequence[tuple[Plans, int]], actions: Float[np.ndarray, "batch horizon action"], rollout: Rollout, seconds: float
) -> Execution:
    """One execution from all plans of a batch, each with the number of its model steps that were executed."""
    last = parts[-1][0]
    statuses = zip(*(plans.status for plans, _ in parts), strict=True)
    return Execution(
        actions=actions,
        rollout=rollout,
        predicted=torch.cat([plans.states[:, :taken] for plans, taken in parts], 1),
        cost=last.cost,
        last_cost=last.last_cost,
        status=tuple(max(row, key=_SEVERITY.index) for row in statuses),
        evaluations=torch.stack([plans.evaluations for plans, _ in parts]).sum(0),
        costs=cost_curve(parts[0][0]),
        seconds=seconds,
    )
