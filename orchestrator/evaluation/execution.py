"""Execution of plans: open loop, or replanned from the simulator's states (MPC). A batch runs in lockstep.

Open loop is MPC whose first plan is executed to the end, so one loop serves both.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrator.core.modes import ONE_PLAN, ExecutionMode
from orchestrator.evaluation.contexts import Past, context_of, past_of
from orchestrator.evaluation.curves import cost_curve
from planners.base import ModelProblems, Planner, Plans, PlanStatus, Start
from planners.classes import executable, null_actions
from planners.search.initialisers import linear
from world_models.base import WorldModel, rollout
from world_models.checkpoints.store import LoadedModel
from world_models.errors import UserError
from world_models.tasks import Problem, Rollout, Task, execute
from world_models.tasks.base import classes_of, executed_actions
from world_models.tasks.recorded.judging import NoSimulator, imagined_rollout

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
    mode: ExecutionMode = ONE_PLAN,
) -> Execution:
    """Plan problems of one horizon and execute the plans, replanning as `mode` says.

    A replan sees the simulator's states, looks as far ahead as the mode says, and starts from the rest of the previous plan.
    """
    horizon, block = problems[0].horizon, task.action_block
    stride = mode.stride(horizon)
    starts = np.stack([problem.start for problem in problems])
    goal = encoded_goals(task, loaded, problems)
    actions, states = np.empty((len(problems), 0, task.action_dim)), starts[:, None]
    past, statistics = past_of(problems, block), _statistics(problems, loaded.model)
    plans, taken, seconds = None, 0, 0.0
    parts: list[tuple[Plans, int]] = []
    for number, done in enumerate(range(0, horizon, stride)):
        if done:
            # Simulated from the start, because a simulator may hold more than its states, such as Push-T's contacts.
            states = task.simulate(starts, executed_actions(task, actions))
        posed = _posed(task, loaded, past, states, actions, goal, mode.planned(done, horizon) // block)
        posed = replace(posed, reference=_reference(task, problems, posed, done), action_statistics=statistics)
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
    return _execution(parts, actions, judged_rollout(task, loaded, problems, actions), seconds)


def judged_rollout(
    task: Task, loaded: LoadedModel, problems: Sequence[Problem], actions: Float[np.ndarray, "batch horizon action"]
) -> Rollout:
    """The actions' rollout in the simulator; where there is none, as the model predicts it, which must be decoded for that.

    Both take actions as `executed_actions` gives them. Raises UserError for a model that cannot be decoded where there is no
    simulator.
    """
    if not isinstance(task, NoSimulator):
        return execute(task, problems, actions)
    starts = np.stack([problem.start for problem in problems])[:, None]
    past = past_of(problems, task.action_block)
    decoded = decoded_states(loaded, predicted_states(task, loaded, starts, executed_actions(task, actions), past=past))
    if decoded is None:
        raise UserError(
            f"task {task.name} has no simulator, and the states of world model {loaded.name!r} cannot be decoded, so that no "
            "plan can be judged: give a model with a readout."
        )
    return imagined_rollout(task, problems, decoded)


def decoded_states(
    loaded: LoadedModel, states: Float[Tensor, "batch time *state"]
) -> Float[np.ndarray, "batch time observation"] | None:
    """Observations that model states stand for; None if the model cannot decode them."""
    if loaded.decode is None:
        return None
    with torch.no_grad():
        return numpy_of(loaded.decode(states.flatten(0, 1))).reshape(*states.shape[:2], -1)


def encoded_goals(task: Task, loaded: LoadedModel, problems: Sequence[Problem]) -> Float[Tensor, "batch *state"]:
    """Model states of the problems' goals, whose pictures are recorded ones where they have such."""
    goals = np.stack([problem.goal for problem in problems])
    recorded = [problem.pictures.goal for problem in problems if problem.pictures is not None]
    return loaded.sensors.encode(loaded.model, task, goals, np.stack(recorded) if recorded else None)


@torch.no_grad()
def predicted_states(
    task: Task,
    loaded: LoadedModel,
    states: Float[np.ndarray, "batch time_plus_one simulator_state"],
    actions: Float[np.ndarray, "batch time action"],
    mode: ExecutionMode = ONE_PLAN,
    past: Past | None = None,
) -> Float[Tensor, "batch model_time *state"]:
    """The model's states s_1..s_T for executed actions and the simulator states that they led to, after the problems' `past`.

    The model sees what the planner saw: the start, and for a replanned cell the states up to each replan. The result equals
    the `predicted` of its execution, without planning.
    """
    model, horizon, block = loaded.model, actions.shape[1], task.action_block
    stride = mode.stride(horizon)
    parts = []
    for done in range(0, horizon, stride):
        context = context_of(loaded, task, past, states[:, : done + 1], actions[:, :done])
        taken = actions[:, done : done + stride].reshape(len(actions), -1, block * task.action_dim)
        parts.append(rollout(model, context, torch.as_tensor(taken, dtype=model.dtype, device=model.device)))
    return torch.cat(parts, 1)


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
        context=context_of(loaded, task, past, states, actions),
        goal=goal,
        steps=steps,
        low=-bound,
        high=bound,
        goal_cost=loaded.goal_cost,
        classes=classes_of(task),
    )


def _reference(
    task: Task, problems: Sequence[Problem], posed: ModelProblems, done: int
) -> Float[Tensor, "batch time action"] | None:
    """The problems' reference actions from step `done` on, as model steps; null actions beyond their end.

    None where a problem has none.
    """
    known = [problem.reference_actions for problem in problems]
    if any(each.ndim != 2 or not len(each) or each.shape[1] != task.action_dim for each in known):
        return None
    taken = np.zeros((len(problems), posed.steps * task.action_block, task.action_dim))
    if posed.classes is not None:
        taken[...] = -1.0
        taken[..., 0] = 1.0
    for row, each in enumerate(known):
        left = each[done : done + taken.shape[1]]
        taken[row, : len(left)] = left
    shape = len(problems), posed.steps, posed.low.shape[0]
    return torch.as_tensor(taken, dtype=posed.low.dtype, device=posed.low.device).reshape(shape)


def _statistics(problems: Sequence[Problem], model: WorldModel) -> tuple[Float[Tensor, " axis"], Float[Tensor, " axis"]] | None:
    """Mean and deviation of the actions of the dataset that the problems are from; None if they are from none."""
    known = problems[0].action_statistics
    if known is None:
        return None
    mean, std = torch.as_tensor(known, dtype=model.dtype, device=model.device)
    return mean, std


def _left_of(plans: Plans, taken: int, model: WorldModel, problems: ModelProblems) -> Start | None:
    """A start from the rest of the plans, at rest beyond their end; a row whose rollout became non-finite starts afresh.

    None if nothing is left of them.
    """
    left = _lengthened(plans.after(taken), problems)
    if left is None:
        return None
    sound = torch.isfinite(left.actions).flatten(1).all(1) & torch.isfinite(left.states).flatten(1).all(1)
    fresh = linear(model, problems)

    def sound_or_fresh(old: Tensor, new: Tensor) -> Tensor:
        return torch.where(sound.view(-1, *[1] * (old.ndim - 1)), old, new)

    return Start(sound_or_fresh(left.actions, fresh.actions), sound_or_fresh(left.states, fresh.states))


def _lengthened(left: Start, problems: ModelProblems) -> Start | None:
    """A start as long as the problems, with null actions and the last state behind what is left; None if nothing is."""
    missing = problems.steps - left.actions.shape[1]
    if not missing:
        return left
    if not left.actions.shape[1]:
        return None
    null = null_actions(problems)[:, :missing]
    # A plan of n steps has n - 1 virtual states, so that the state at which the actions end is still unknown.
    last = left.states[:, -1:] if left.states.shape[1] else problems.context.last.unsqueeze(1)
    states = torch.cat([left.states, last.expand(len(last), missing, *last.shape[2:])], 1)
    return Start(torch.cat([left.actions, null], 1), states)


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
