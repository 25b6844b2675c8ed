"""A study of planning quality that takes seconds: an untrained model of the wall, two planners, few iterations."""

from __future__ import annotations

from pathlib import Path

from tests.support.small_sweeps import tiny_model

TASK = """\
# @package tasks.{name}
name: wall
settings: {{kind: free}}
world_model: {model}
horizons: [10]
"""

STUDY = """\
# @package _global_
defaults:
  - override /backend: inline

variant: tiny
planners: {grasp: {words: ["space.sync_every.choices=[1,2]", "space.sync_steps.high=3"]}, gd: {}}
tuning:
  trials: 3
  top: 1
  seeds: {start: 10000, count: 4}
  choice_seeds: {start: 11000, count: 2}
  words: [space.iterations.low=2, space.iterations.high=6, parallel=1]
places:
  near: {task: tiny, horizon: 10, for: [tiny], settings: {attempts: 1}}
tests:
  - {task: tiny, horizons: [10, 20], seeds: {start: 2000, count: 3}, equal_seconds: true}
  - {task: tiny, horizons: [10], seeds: {start: 2000, count: 2}, mode: "mpc:5"}
ablation:
  at: [{task: tiny, horizon: 10}, {task: tiny, horizon: 20}]
  changes: {no_noise: {noise: 0.0, init_noise: 0.0}}
sensitivity:
  at: [{task: tiny, horizon: 10}]
  count: 2
  goal_weight: [1.0, 3.0]
  noise: [1.0]
worst: {planners: [grasp], count: 2}
targets: [{task: tiny, horizon: 10, at_least: 0.85}]
faster: [{task: tiny, horizon: 10, than: gd, share: 0.25}]
"""


def tiny_study(folder: Path, study: str = STUDY) -> Path:
    """A folder of configs with the study `planning_quality=tiny` of task file `tiny`."""
    conf = folder / "conf"
    for group, name, text in (
        ("task", "tiny", TASK.format(name="tiny", model=tiny_model(folder))),
        ("planning_quality", "tiny", study),
    ):
        (conf / group).mkdir(parents=True, exist_ok=True)
        (conf / group / f"{name}.yaml").write_text(text, encoding="utf-8")
    return conf
