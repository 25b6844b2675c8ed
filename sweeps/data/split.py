"""`grasp data split`: a file that says which episodes are for training and which for validation."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from sweeps.console.terminal import say
from world_models.datasets import Episodes, split_episodes
from world_models.errors import UserError, require
from world_models.files.writing import write_file


def write_split(data: Episodes, share: object, seed: object, out: object, console: Console) -> int:
    """Write the split that `grasp train data=` makes with the same share and seed, and return the exit code.

    Raises UserError for a share or a seed that is none, and if no file is named.
    """
    require(out is not None, "grasp data split needs a file to write to: give out=FILE.json.")
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise UserError(f"validation {share!r} is not a share of the episodes: give a number from 0 to below 1, such as 0.1.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed {seed!r} is not a whole number from 0 on: give such as 0.")
    training, validation = split_episodes(len(data.lengths), float(share), seed)
    content = {
        "digest": data.digest(),
        "episodes": len(data.lengths),
        "share": float(share),
        "seed": seed,
        "training": training.tolist(),
        "validation": validation.tolist(),
    }
    write_file(Path(str(out)), json.dumps(content) + "\n")
    parts = (f"{len(part)} episodes ({data.lengths[part].sum()} rows)" for part in (training, validation))
    say(console, f"{out}: {next(parts)} for training, {next(parts)} for validation")
    return 0
