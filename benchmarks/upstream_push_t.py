"""Push-T against the code of DINO-WM and stable-worldmodel: `python -m benchmarks.upstream_push_t --dino-wm PATH --swm PATH`.

Both paths are checkouts (DINO-WM 0a9492f, stable-worldmodel addbab4). Compared are the states after random actions from
restored states, success verdicts, random starts and goals, and pictures; `--write FILE` keeps some of theirs for the tests.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.upstream_code import dino_wm_push_t, swm_push_t
from world_models.tasks import Task, make_task
from world_models.tasks.base import pose_of
from world_models.tasks.push_t.resets import asked, dino_wm_states, settled, swm_states, upstream_rows
from world_models.tasks.push_t.shapes import block_centre
from world_models.tasks.push_t.upstream_pictures import pictures

STEPS, SIZE = 100, 224


@dataclass(frozen=True)
class Upstream:
    """One of the two projects' environments."""

    name: str
    env: Any
    reset: Callable[[np.ndarray, np.ndarray], object]
    """Put the bodies into a start, given the goal."""

    def begin(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Our simulator states of the same resets."""
        return asked(starts, goals if self.name == "swm" else None)

    def state(self) -> np.ndarray:
        """Positions and velocities of both bodies, in float64 (DINO-WM observes them in float32)."""
        agent, block = self.env.agent, self.env.block
        pose = [*agent.position, *agent.velocity, *block.position, block.angle % (2 * np.pi)]
        return np.array([*pose, *block.velocity, block.angular_velocity])

    def states(self, start: np.ndarray, goal: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """States after the reset and each action."""
        self.reset(start, goal)
        found = [self.state()]
        for action in actions:
            self.env.step(action)
            found.append(self.state())
        return np.stack(found)

    def verdict(self, goal: np.ndarray, state: np.ndarray) -> bool:
        """Their success test, of states as they observe them."""
        if self.name == "swm":
            return bool(self.env.eval_state(goal, state)[0])
        return bool(self.env.eval_state(np.float32(goal), np.float32(state))["success"])


def rows_to_restore(count: int, seed: int) -> np.ndarray:
    """Upstream's states, agent moving: two thirds from scripted pushes, the others random, where bodies may overlap."""
    rng = np.random.default_rng(seed)
    states, _ = make_task("push_t_upstream").sample(rng, 30, 60)
    rows = upstream_rows(states.reshape(-1, states.shape[-1]))[rng.permutation(30 * 61)[:count]]
    rows = np.resize(rows, (count, 7))
    rows[::3] = [dino_wm_states(seed)[0] for seed in range(len(rows[::3]))]
    rows[:, 5:] += rng.normal(0.0, 40.0, (count, 2))
    rows[:, 4] %= 2 * np.pi
    return rows


def compare_motion(upstream: Upstream, count: int) -> float:
    """Largest difference of states over random actions from restored states."""
    draw = upstream.env._render_frame
    upstream.env._render_frame = lambda mode: None  # of no influence, and most of the time
    starts, goals = rows_to_restore(count, 1), rows_to_restore(count, 2)
    actions = np.random.default_rng(3).uniform(-0.6, 0.6, (count, STEPS, 2))
    begin = upstream.begin(starts, goals)
    ours = make_task("push_t_upstream", settling=upstream.name).simulate(begin, actions)[..., :10]
    ours[:, 0] = settled(begin)[:, :10]
    worst, touched = 0.0, 0
    for row in range(count):
        theirs = upstream.states(starts[row], goals[row], actions[row])
        worst = max(worst, float(np.abs(theirs - ours[row]).max()))
        touched += bool(np.ptp(theirs[:, 4:6], axis=0).max() > 1.0)
    upstream.env._render_frame = draw
    what = f"{count} restored states x {STEPS} random actions, {touched} of which move the block"
    print(f"{upstream.name}: {what}: largest difference {worst:.3g}")
    return worst


def float32_drift(upstream: Upstream, count: int) -> None:
    """How far their states drift if they are given the same actions in float32, in which they then compute."""
    upstream.env._render_frame, draw = (lambda mode: None), upstream.env._render_frame
    starts, goals = rows_to_restore(count, 4), rows_to_restore(count, 5)
    actions = np.random.default_rng(6).uniform(-0.6, 0.6, (count, 25, 2)).astype(np.float32)
    pairs = list(zip(starts, goals, actions, strict=True))
    far = [
        np.abs(upstream.states(*each)[-1] - upstream.states(*each[:2], each[2].astype(float))[-1])[[0, 1, 4, 5]]
        for each in pairs
    ]
    upstream.env._render_frame = draw
    print(
        f"{upstream.name}: actions in float32 move their own end after 25 steps by {np.median(np.max(far, 1)):.2g} px "
        f"(median; at most {np.max(far):.2g}) of {count}"
    )


def compare_verdicts(upstream: Upstream, count: int) -> int:
    """Number of verdicts that differ, at errors about the size of the tolerances."""
    task, ours = make_task("push_t_upstream", settling=upstream.name), make_task("push_t")
    goals, states = verdict_pairs(count)
    theirs = np.array([upstream.verdict(goal, state) for goal, state in zip(goals, states, strict=True)])
    different = int((theirs != reached(task, states, goals)).sum())
    print(f"{upstream.name}: {different} of {count} verdicts differ")
    by_gravity = reached(ours, states, goals)
    for part, errors in (
        (slice(0, count // 2), "independent"),
        (slice(count // 2, None), "turned about the centre of gravity"),
    ):
        print(
            f"{upstream.name}: {errors}: {theirs[part].mean():.3f} succeed, {by_gravity[part].mean():.3f} by push_t's test; "
            f"{(theirs != by_gravity)[part].mean():.3f} of the verdicts differ between the two"
        )
    return different


def verdict_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Goals, and states near them; in the second half the block is turned about its centre of gravity, as pushes turn it."""
    rng = np.random.default_rng(7)
    goals = rows_to_restore(count, 8)
    states = goals + rng.normal(0.0, 1.0, (count, 7)) * np.array([7.0, 7.0, 7.0, 7.0, 0.2, 30.0, 30.0])
    half = slice(count // 2, None)
    plain, turned = asked(goals[half])[:, :10], asked(states[half])[:, :10]
    states[half, 2:4] += block_centre(plain) - plain[:, 4:6] - block_centre(turned) + turned[:, 4:6]
    states[:, 4] %= 2 * np.pi
    return goals, states


def reached(task: Task, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Our verdicts of upstream's states."""
    size = 25 if task.name == "push_t_upstream" else 10
    return task.reached(pose_of(task, asked(states)[:, :size]), pose_of(task, asked(goals)[:, :size]))


def compare_random(dino: Upstream, swm: Upstream, count: int) -> int:
    """Number of seeds whose random start or goal differ; prints for how many goals DINO-WM's test lets any angle pass."""
    different = free = 0
    for seed in range(count):
        ours, theirs = dino_wm_states(seed), dino.env.sample_random_init_goal_states(seed)
        different += not np.array_equal(np.stack(ours), np.stack(theirs))
        free += abs(ours[1][4] - np.pi) - np.pi > 2 * np.pi - np.pi / 9
        swm.env.reset(seed=seed)
        drawn = swm.env.variation_space
        start = [
            *drawn["agent"]["start_position"].value,
            *drawn["block"]["start_position"].value,
            drawn["block"]["angle"].value,
        ]
        start, goal = np.array([*start, 0.0, 0.0]), swm.env.goal_state
        different += not np.array_equal(np.stack(swm_states(seed)), np.stack([start, goal]))
    print(
        f"random starts and goals of {count} seeds of each: {different} differ; with {free} of DINO-WM's goals, whose "
        "angles are not wrapped, any angle passes its test"
    )
    return different


def compare_pictures(upstream: Upstream, count: int) -> float:
    """Share of pixels that differ in pictures of states on random rollouts, half of them in contact."""
    starts, goals = rows_to_restore(count // 10, 9), rows_to_restore(count // 10, 10)
    actions = np.random.default_rng(11).uniform(-0.6, 0.6, (len(starts), 9, 2))
    states, theirs = [], []
    for start, goal, plan in zip(starts, goals, actions, strict=True):
        upstream.reset(start, goal)
        for action in [None, *plan]:
            if action is not None:
                upstream.env.step(action)
            states.append(np.concatenate([upstream.state(), np.zeros(15)]))
            theirs.append(upstream.env._render_frame("rgb_array"))
    began = time.process_time()
    ours = pictures(np.stack(states), SIZE)
    seconds = (time.process_time() - began) / len(states)
    began = time.process_time()
    for _ in range(20):
        upstream.env._render_frame("rgb_array")
    wrong = (ours != np.stack(theirs)).any(-1)
    took = f"{1e3 * seconds:.1f} ms of CPU a picture, theirs {50 * (time.process_time() - began):.1f} ms"
    where = f"the pixels of {len(states)} pictures differ, in {int(wrong.any((1, 2)).sum())} of them"
    print(f"{upstream.name}: {wrong.mean():.2e} of {where}; {took}")
    return float(wrong.mean())


def write(path: Path, upstreams: list[Upstream]) -> None:
    """Keep a few of upstream's values."""
    kept: dict[str, np.ndarray] = {}
    for upstream in upstreams:
        starts, goals = rows_to_restore(6, 12), rows_to_restore(6, 13)
        actions = np.random.default_rng(14).uniform(-0.6, 0.6, (6, 30, 2))
        paths = np.stack([upstream.states(*each) for each in zip(starts, goals, actions, strict=True)])
        views = []
        for start, goal in zip(starts, goals, strict=True):
            upstream.reset(start, goal)
            views.append(upstream.env._render_frame("rgb_array"))
        near, at = verdict_pairs(300)
        verdicts = np.array([upstream.verdict(*pair) for pair in zip(near, at, strict=True)])
        found = {
            "starts": starts,
            "goals": goals,
            "actions": actions,
            "states": paths,
            "pictures": np.stack(views),
            "verdict_goals": near,
            "verdict_states": at,
            "verdicts": verdicts,
        }
        kept |= {f"{upstream.name}/{name}": values for name, values in found.items()}
    dino, swm = upstreams
    kept["dino_wm/random"] = np.stack([np.stack(dino.env.sample_random_init_goal_states(seed)) for seed in range(5)])
    drawn = []
    for seed in range(5):
        _, info = swm.env.reset(seed=seed)
        value = swm.env.variation_space.value
        start = [*value["agent"]["start_position"], *value["block"]["start_position"], value["block"]["angle"], 0.0, 0.0]
        drawn.append(np.stack([start, info["goal_state"]]))
    kept["swm/random"] = np.stack(drawn)
    np.savez_compressed(path, **kept)  # pyright: ignore[reportArgumentType]


def main() -> int:
    """Compare, and end with 1 if anything differs by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dino-wm", type=Path, required=True)
    parser.add_argument("--swm", type=Path, required=True)
    parser.add_argument("--states", type=int, default=1000)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    one, other = dino_wm_push_t(options.dino_wm)(), swm_push_t(options.swm)()
    dino = Upstream("dino_wm", one, lambda start, goal: one.prepare(0, start))
    swm = Upstream("swm", other, lambda start, goal: other.reset(seed=0, options={"state": start, "goal_state": goal}))
    if options.write:
        write(options.write, [dino, swm])
        return 0
    wrong = compare_random(dino, swm, options.states) > 0
    for upstream in (dino, swm):
        wrong |= compare_motion(upstream, options.states) > 1e-9
        wrong |= compare_verdicts(upstream, 10 * options.states) > 0
        wrong |= compare_pictures(upstream, options.states) > 1e-4
        float32_drift(upstream, max(options.states // 10, 1))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
