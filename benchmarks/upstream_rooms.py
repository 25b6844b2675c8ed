"""Two rooms against the code of DINO-WM and stable-worldmodel: `python -m benchmarks.upstream_rooms --dino-wm PATH --swm PATH`.

Both paths are checkouts (DINO-WM 0a9492f, stable-worldmodel addbab4). Compared are positions after random actions from restored
states, success verdicts, random starts and goals, and pictures. The last line is one JSON object; `--write FILE` keeps some of
upstream's values for the tests instead.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.upstream_code import dino_wm_wall, swm_two_room
from world_models.tasks.rooms import TwoRoom, WallDino
from world_models.tasks.rooms.room import Room

STEPS, SIZE = 100, 224
DOORS = 10, 30


@dataclass(frozen=True)
class Upstream(ABC):
    """One of the environments, and the task that should be the same."""

    env: Any
    task: Room

    @property
    def name(self) -> str:
        """Name in tables and in the file of kept values."""
        return self.task.name + (f"_door_{self.task.door}" if isinstance(self.task, WallDino) else "")

    @abstractmethod
    def begin(self, start: np.ndarray) -> None:
        """Put the point into a start."""

    @abstractmethod
    def step(self, action: np.ndarray) -> None:
        """Take one of our actions."""

    @abstractmethod
    def position(self) -> np.ndarray:
        """Where the point is."""

    @abstractmethod
    def picture(self) -> np.ndarray:
        """Their picture of it, rounded."""

    @abstractmethod
    def verdicts(self, poses: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Their success test."""

    @abstractmethod
    def drawn(self, seed: int) -> np.ndarray:
        """Their random start and goal."""

    def path(self, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Positions at the start and after each action."""
        self.begin(start)
        found = [self.position()]
        for action in actions:
            self.step(action)
            found.append(self.position())
        return np.stack(found)


class UpstreamTwoRoom(Upstream):
    """stable-worldmodel's."""

    def begin(self, start: np.ndarray) -> None:
        """Put the point into a start."""
        self.env._set_state(start)

    def step(self, action: np.ndarray) -> None:
        """Take one of our actions."""
        self.env.step(action)

    def position(self) -> np.ndarray:
        """The position, in float64."""
        return self.env.agent_position.double().numpy()

    def picture(self) -> np.ndarray:
        """Their picture, rounded."""
        return self.env.render()

    def verdicts(self, poses: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Their success test."""
        found = []
        for pose, goal in zip(poses, goals, strict=True):
            self.env.agent_position = torch.as_tensor(pose, dtype=torch.float32)
            self.env.target_position = torch.as_tensor(goal, dtype=torch.float32)
            self.env._apply_collisions = lambda _, after: after  # of a step of length 0
            found.append(self.env.step(np.zeros(2))[2])
        del self.env._apply_collisions
        return np.array(found)

    def drawn(self, seed: int) -> np.ndarray:
        """Their random start and goal."""
        self.env.reset(seed=seed)
        return np.stack([self.env.agent_position.double().numpy(), self.env.target_position.double().numpy()])


class UpstreamWall(Upstream):
    """DINO-WM's."""

    def begin(self, start: np.ndarray) -> None:
        """Put the point into a start."""
        self.env.prepare(0, start)

    def step(self, action: np.ndarray) -> None:
        """Take one of our actions."""
        assert isinstance(self.task, WallDino)
        self.env.step(torch.from_numpy(self.task.bound * action))

    def position(self) -> np.ndarray:
        """The position, in float64."""
        return self.env.dot_position.double().numpy()

    def picture(self) -> np.ndarray:
        """Their picture, rounded."""
        seen, _ = self.env.prepare(0, self.position())
        return np.rint(seen["visual"].numpy()).astype(np.uint8)

    def verdicts(self, poses: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Their success test."""
        pairs = zip(poses, goals, strict=True)
        return np.array([bool(self.env.eval_state(goal, pose)["success"]) for pose, goal in pairs])

    def drawn(self, seed: int) -> np.ndarray:
        """Their random start and goal."""
        return np.stack(self.env.sample_random_init_goal_states(seed))


def restored(upstream: Upstream, count: int, seed: int) -> np.ndarray:
    """States to put the point into: half from our behaviour, many in contact, and half of their random starts."""
    rng = np.random.default_rng(seed)
    states = upstream.task.sample(rng, count, 20)[0][:, rng.integers(0, 21)]
    states[::2] = [upstream.task.random_states(each)[0] for each in range(seed, seed + len(states[::2]))]
    return states


def plans(count: int, steps: int, seed: int) -> np.ndarray:
    """Random actions: of each row all of one strength, and half of them with a drift, which leads to walls and the door."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1.0, 1.0, (count, steps, 2)) * rng.uniform(0.3, 1.0, (count, 1, 1))
    actions[::2] += rng.uniform(-0.6, 0.6, (len(actions[::2]), 1, 2))
    return np.clip(actions, -1.0, 1.0)


def pairs(upstream: Upstream, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and goals about a radius of success apart."""
    rng = np.random.default_rng(seed)
    goals = restored(upstream, count, seed)
    angle, radius = rng.uniform(0.0, 2.0 * np.pi, count), upstream.task.success * rng.normal(1.0, 0.3, count)
    return goals + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), goals


def compare_motion(upstream: Upstream, count: int) -> float:
    """Largest difference of positions over random actions from restored states."""
    starts, actions = restored(upstream, count, 1), plans(count, STEPS, 2)
    ours = upstream.task.simulate(starts, actions)
    theirs = np.stack([upstream.path(*each) for each in zip(starts, actions, strict=True)])
    plan = upstream.task.plan
    free = starts[:, None] + plan.stride * actions.cumsum(1)
    stopped = np.abs(free - theirs[:, 1:]).max((1, 2)) > 0.1
    passed = np.ptp((theirs[..., 0] < plan.middle).astype(int), axis=1)
    worst = float(np.abs(ours - theirs).max())
    print(
        f"{upstream.name}: {count} restored states x {STEPS} random actions, {stopped.sum()} of which meet something and "
        f"{passed.sum()} pass the door: largest difference {worst:.3g}"
    )
    return worst


def compare_verdicts(upstream: Upstream, count: int) -> int:
    """Number of verdicts that differ."""
    poses, goals = pairs(upstream, count, 3)
    theirs = upstream.verdicts(poses, goals)
    different = int((upstream.task.reached(poses, goals) != theirs).sum())
    print(f"{upstream.name}: {different} of {count} verdicts differ; {theirs.mean():.3f} succeed")
    return different


def compare_random(upstream: Upstream, count: int) -> int:
    """Number of seeds whose random start or goal differ."""
    ours, theirs = (np.stack([each(seed) for seed in range(count)]) for each in (upstream.task.random_states, upstream.drawn))
    different = int((ours != theirs).any((1, 2)).sum())
    print(f"{upstream.name}: random starts and goals of {count} seeds: {different} differ")
    return different


def compare_pictures(upstream: Upstream, count: int) -> tuple[float, float]:
    """Share of pixels that differ, and our ms of CPU for each picture."""
    starts = restored(upstream, count, 4)
    states = upstream.task.simulate(starts, plans(count, 20, 5))[:, -1]
    theirs = []
    began = time.process_time()
    for state in states:
        upstream.begin(state)
        theirs.append(upstream.picture())
    slow = 1e3 * (time.process_time() - began) / count
    upstream.task.pixels(states[:1], SIZE)
    began = time.process_time()
    ours = upstream.task.pixels(states, SIZE)
    took = 1e3 * (time.process_time() - began) / count
    wrong = (ours != np.stack(theirs)).any(-1)
    where = f"the pixels of {count} pictures differ, in {int(wrong.any((1, 2)).sum())} of them"
    print(f"{upstream.name}: {wrong.mean():.2e} of {where}; {took:.1f} ms of CPU a picture, theirs {slow:.1f} ms")
    return float(wrong.mean()), took


def compare_precision(upstream: Upstream, count: int) -> None:
    """How far their positions drift if they are given states and actions in float32, in which DINO-WM's data are."""
    starts, actions = restored(upstream, count, 6).astype(np.float32), plans(count, 25, 7).astype(np.float32)
    double = [upstream.path(*each)[-1] for each in zip(starts.astype(float), actions.astype(float), strict=True)]
    single = [upstream.path(*each)[-1] for each in zip(starts, actions, strict=True)]
    moved = np.abs(np.stack(single) - np.stack(double)).max(1)
    print(
        f"{upstream.name}: states and actions in float32 move their own end after 25 steps by {np.median(moved):.2g} px "
        f"(median; at most {moved.max():.2g}) of {count}"
    )


def kept(upstream: Upstream) -> dict[str, np.ndarray]:
    """A few of upstream's values, by name."""
    starts, actions = restored(upstream, 12, 11), plans(12, 40, 12)
    paths = np.stack([upstream.path(*each) for each in zip(starts, actions, strict=True)])
    views = []
    for state in paths[:6, -1]:
        upstream.begin(state)
        views.append(upstream.picture())
    poses, goals = pairs(upstream, 300, 13)
    found = {
        "starts": starts,
        "actions": actions,
        "states": paths,
        "pictures": np.stack(views),
        "verdict_goals": goals,
        "verdict_states": poses,
        "verdicts": upstream.verdicts(poses, goals),
        "random": np.stack([upstream.drawn(seed) for seed in range(5)]),
    }
    return {f"{upstream.name}/{name}": values for name, values in found.items()}


def compare(upstream: Upstream, states: int) -> dict[str, float | bool]:
    """All figures of one environment, and whether they are within what is allowed."""
    pixels, took = compare_pictures(upstream, states)
    found: dict[str, float | bool] = {
        "draws_that_differ": compare_random(upstream, states),
        "largest_state_error_px": compare_motion(upstream, states),
        "verdicts_that_differ": compare_verdicts(upstream, 10 * states),
        "share_of_pixels_that_differ": pixels,
        "ms_per_picture": round(took, 2),
    }
    compare_precision(upstream, max(states // 10, 1))
    fine = found["draws_that_differ"] == 0 == found["verdicts_that_differ"]
    found["holds"] = bool(fine and found["largest_state_error_px"] <= 1e-9 and pixels <= 1e-4 and took <= 5.0)
    return found


def main() -> int:
    """Compare, and end with 1 if anything differs by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dino-wm", type=Path, required=True)
    parser.add_argument("--swm", type=Path, required=True)
    parser.add_argument("--states", type=int, default=1000)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    room = swm_two_room(options.swm)()
    room.reset(seed=0)
    upstreams: list[Upstream] = [UpstreamTwoRoom(room, TwoRoom())]
    made = dino_wm_wall(options.dino_wm)
    for door in DOORS:
        wall = made()
        wall.update_env({"fix_door_location": torch.tensor(door), "fix_wall_location": torch.tensor(32)})
        upstreams.append(UpstreamWall(wall, WallDino(door=door)))
    if options.write:
        held = {name: values for each in upstreams for name, values in kept(each).items()}
        np.savez_compressed(options.write, **held)  # pyright: ignore[reportArgumentType]
        return 0
    found = {each.name: compare(each, options.states) for each in upstreams}
    print(json.dumps(found))
    return int(not all(each["holds"] for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
