"""The point maze against DINO-WM's code on today's MuJoCo: `python -m benchmarks.upstream_point_maze --dino-wm PATH`.

PATH is a checkout (0a9492f). Its packages (mujoco-py, d4rl) need MuJoCo 2.1, so that its classes stand on MuJoCo's own
bindings here: the motion of MuJoCo 2.1 is not compared. With `--pictures`, which needs a driver for MuJoCo's renderer
(MUJOCO_GL=egl), ours are held against MuJoCo's of the same scene. The last line is one JSON object; `--write FILE` keeps some
values for the tests instead.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.upstream_code import dino_wm_point_maze
from benchmarks.upstream_rooms import plans
from world_models.tasks.point_maze_dino import PointMazeDino

STEPS, SIZE = 100, 224
FAR_AWAY = 11.0
"""Position of the mark of the target, which is out of sight."""


def path(env: Any, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Their positions and velocities at the start and after each action, in float64 (observed in float32)."""
    env._mujoco.mj_resetData(env.model, env.data)
    env.set_state(start[:2], start[2:4])
    found = [np.concatenate([env.data.qpos, env.data.qvel])]
    for action in actions:
        env.step(action)
        found.append(np.concatenate([env.data.qpos, env.data.qvel]))
    return np.stack(found)


def restored(task: PointMazeDino, count: int, seed: int) -> np.ndarray:
    """States to put the ball into: half from our behaviour, half their random states."""
    states = task.sample(np.random.default_rng(seed), count, 20)[0][:, 10]
    states[:, 4:] = 0.0
    states[::2] = [task.random_states(each)[0] for each in range(seed, seed + len(states[::2]))]
    return states


def compare(env: Any, count: int) -> dict[str, float | bool]:
    """Draws, motion and verdicts."""
    task = PointMazeDino()
    drawn = [np.stack(env.sample_random_init_goal_states(seed)) for seed in range(count)]
    draws = sum(not np.array_equal(np.stack(task.random_states(seed))[:, :4], drawn[seed]) for seed in range(count))
    starts, actions = restored(task, count, 1), plans(count, STEPS, 2)
    ours = task.simulate(starts, actions)[..., :4]
    theirs = np.stack([path(env, *each) for each in zip(starts, actions, strict=True)])
    rng = np.random.default_rng(3)
    goals, near = restored(task, 10 * count, 4)[:, :4], rng.normal(0.0, 0.3, (10 * count, 4))
    verdicts = np.array([bool(env.eval_state(goal, goal + off)["success"]) for goal, off in zip(goals, near, strict=True)])
    different = int((task.reached((goals + near)[:, :2], goals[:, :2]) != verdicts).sum())
    worst = float(np.abs(ours - theirs).max())
    print(f"point_maze_dino: random starts and goals of {count} seeds: {draws} differ")
    print(f"point_maze_dino: {count} restored states x {STEPS} random actions: largest difference {worst:.3g}")
    print(f"point_maze_dino: {different} of {len(goals)} verdicts differ; {verdicts.mean():.3f} succeed")
    fine = draws == 0 == different and worst <= 1e-9
    return {"draws_that_differ": draws, "largest_state_error": worst, "verdicts_that_differ": different, "holds": fine}


def compare_pictures(env: Any, count: int) -> dict[str, float]:
    """How far our pictures are from MuJoCo's of their scene, seen as mujoco-py's camera sees it."""
    mujoco: Any = importlib.import_module("mujoco")
    task = PointMazeDino()
    states = restored(task, count, 5)
    camera = mujoco.MjvCamera()
    env.set_state(np.zeros(2), np.zeros(2))
    camera.lookat[:] = np.median(env.data.geom_xpos, axis=0)
    camera.distance, camera.azimuth, camera.elevation = env.model.stat.extent, 90, -90
    mark = mujoco.mj_name2id(env.model, mujoco.mjtObj.mjOBJ_SITE, "target_site")
    theirs = []
    with mujoco.Renderer(env.model, SIZE, SIZE) as renderer:
        for state in states:
            env.set_state(state[:2], state[2:4])
            env.data.site_xpos[mark] = FAR_AWAY, FAR_AWAY, 0.0
            renderer.update_scene(env.data, camera)
            theirs.append(renderer.render()[::-1].copy())
    task.pixels(states[:1], SIZE)
    began = time.process_time()
    ours = task.pixels(states, SIZE)
    took = 1e3 * (time.process_time() - began) / count
    off = np.abs(ours.astype(int) - np.stack(theirs)).max(-1)
    shares = {f"share_of_pixels_off_by_more_than_{level}": float((off > level).mean()) for level in (0, 2, 10, 30)}
    print(f"point_maze_dino: of the pixels of {count} pictures {shares}; {took:.1f} ms of CPU a picture")
    return {**shares, "ms_per_picture": round(took, 2)}


def write(file: Path, env: Any) -> None:
    """Keep a few of upstream's values."""
    starts, actions = restored(PointMazeDino(), 12, 11), plans(12, 40, 12)
    paths = np.stack([path(env, *each) for each in zip(starts, actions, strict=True)])
    drawn = np.stack([np.stack(env.sample_random_init_goal_states(seed)) for seed in range(5)])
    np.savez_compressed(file, starts=starts, actions=actions, states=paths, random=drawn)


def main() -> int:
    """Compare, and end with 1 if motion, draws or verdicts differ by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dino-wm", type=Path, required=True)
    parser.add_argument("--states", type=int, default=1000)
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    wrapper, maze = dino_wm_point_maze(options.dino_wm)
    np.random.seed(0)
    env = wrapper(maze_spec=maze, reward_type="sparse", reset_target=False)
    if options.write:
        write(options.write, env)
        return 0
    found: dict[str, float | bool] = compare(env, options.states)
    if options.pictures:
        found |= compare_pictures(env, options.states)
    print(json.dumps({"point_maze_dino": found}))
    return int(not found["holds"])


if __name__ == "__main__":
    sys.exit(main())
