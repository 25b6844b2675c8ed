"""Records which rows published evaluations draw: `python -m tests.golden.record_draws SWM DINO_WM`, two checkouts.

Runs the statements of stable-worldmodel's `scripts/plan/eval_wm.py` (addbab4) that draw starts, and the method of DINO-WM's
`plan.py` (0a9492f) that does, on a dataset of made-up episodes, and writes `published_draws.json`.
"""

from __future__ import annotations

import ast
import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

DRAWS = Path(__file__).with_name("published_draws.json")
LENGTHS = [60, 26, 25, 1, 90, 40, 33, 70, 80, 10]
OFFSET, COUNT = 25, 12


class FlatDataset:
    """The columns of a dataset as stable-worldmodel reads them."""

    column_names = ("episode_idx", "step_idx")

    def get_col_data(self, name: str) -> np.ndarray:
        """A column, row by row."""
        episodes = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
        return episodes if name == "episode_idx" else np.concatenate([np.arange(length) for length in LENGTHS])


def swm_rows(checkout: Path, seed: int, before: bool) -> list[tuple[int, int]]:
    """Episodes and starts of `eval_wm.py`; `before` its correction, the last start is left out."""
    tree = ast.parse((checkout / "scripts/plan/eval_wm.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    body = functions["run"].body
    names = [ast.unparse(node).partition(" = ")[0] for node in body]
    drawing = body[names.index("episode_len") : names.index("eval_start_idx") + 1]
    text = "\n".join(ast.unparse(node) for node in [functions["episode_col"], functions["get_episodes_length"], *drawing])
    if before:
        text = text.replace("len(valid_indices), size", "len(valid_indices) - 1, size")
    dataset = FlatDataset()
    cfg = SimpleNamespace(seed=seed, eval=SimpleNamespace(goal_offset_steps=OFFSET, num_eval=COUNT))
    scope: dict[str, Any] = {"np": np, "cfg": cfg, "dataset": dataset, "ep_indices": np.arange(len(LENGTHS))}
    exec(compile(text, "eval_wm.py", "exec"), scope)
    return [*zip(scope["eval_episodes"].tolist(), scope["eval_start_idx"].tolist(), strict=True)]


def dino_wm_rows(checkout: Path, seed: int) -> list[tuple[int, int]]:
    """Episodes and starts of `plan.py`."""
    tree = ast.parse((checkout / "plan.py").read_text(encoding="utf-8"))
    (workspace,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "PlanWorkspace")
    (method,) = (each for each in workspace.body if getattr(each, "name", "") == "sample_traj_segment_from_dset")
    scope: dict[str, Any] = {"random": random}
    exec(compile(ast.unparse(method), "plan.py", "exec"), scope)
    episodes = []
    for number, length in enumerate(LENGTHS):
        place = torch.stack([torch.full((length,), number), torch.arange(length)], 1)
        episodes.append(({"visual": place}, place, place, {}))
    random.seed(seed)
    plan = SimpleNamespace(dset=episodes, n_evals=COUNT, frameskip=5, goal_H=OFFSET // 5)
    observations, *_ = scope["sample_traj_segment_from_dset"](plan, traj_len=OFFSET + 1)
    return [(int(each["visual"][0, 0]), int(each["visual"][0, 1])) for each in observations]


if __name__ == "__main__":
    swm, dino_wm = (Path(word) for word in sys.argv[1:3])
    found = {
        "swm": {seed: swm_rows(swm, seed, before=False) for seed in (42, 7)},
        "swm_before_2026_07": {seed: swm_rows(swm, seed, before=True) for seed in (42, 7)},
        "dino_wm": {seed: dino_wm_rows(dino_wm, seed) for seed in (99, 7)},
    }
    DRAWS.write_text(json.dumps(found) + "\n", encoding="utf-8")
