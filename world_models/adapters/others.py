"""Files that are known and cannot be imported, and what it would take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from world_models.adapters.weights import find_weights

OTHERS: Mapping[tuple[str, ...], str] = {
    ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"): (
        "holds the weights of a DINOv2 encoder, not of a world model: pass it as --encoder along with one."
    ),
    ("dynamics.0.weight", "reward.0.weight", "qs.0.0.weight", "pi.0.weight"): (
        "is stable-worldmodel's TD-MPC2, which plans for a reward: it would take a task without a goal, a cost of each step's "
        "action, and its encoders here; TD-MPC2's own agents can be read."
    ),
    ("log_stds", "action_predictor.pos_embedding"): (
        "is a goal-conditioned policy of stable-worldmodel (GCBC, IQL, HILP), not a world model: there is nothing to plan with."
    ),
}
"""Sentences on files with certain tensors."""


def told_apart(file: Path, content: Mapping[str, object]) -> str | None:
    """A sentence on a file that is known and cannot be imported; None for one that is not known."""
    for marks, sentence in OTHERS.items():
        if find_weights(content, marks) is not None:
            return f"{file} {sentence}"
    return None
