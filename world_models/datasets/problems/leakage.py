"""Whether a model is judged on episodes that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from world_models.datasets.problems.rows import episodes_of, read_manifest
from world_models.datasets.problems.settings import RecordedProblems
from world_models.datasets.windows import split_episodes
from world_models.errors import require


def check_not_trained_on(card: Mapping[str, object], problems: RecordedProblems) -> None:
    """Raise UserError if problems are of episodes that the card's model was trained on, unless that is asked for."""
    leaked = trained_episodes(card, problems)
    require(
        problems.trained_on or not len(leaked),
        f"world model {card.get('name')} was trained on {len(leaked)} of the episodes that problems.data={problems.path} takes "
        f"problems from, such as episode {leaked[0] if len(leaked) else ''}: give problems.split=validation with the share and "
        "seed of its training, or problems.trained_on=true to judge it on them all the same.",
    )


def trained_episodes(card: Mapping[str, object], problems: RecordedProblems) -> Int[np.ndarray, " leaked"]:
    """Episodes of the problems that the card says its model was trained on; none where it was trained on something else."""
    data = card.get("data")
    if not isinstance(data, Mapping) or data.get("digest") != problems.digest or "validation" not in data:
        return np.empty(0, np.int64)
    count = int(data["episodes"])
    training, _ = split_episodes(count, float(data["validation"]), int(data["split_seed"]))
    if problems.manifest is None:
        judged = episodes_of(problems, count)
    else:
        listed = read_manifest(problems.manifest, np.full(count, np.iinfo(np.int64).max))
        judged = np.unique([rows.episode for rows in listed.problems.values()])
    return np.intersect1d(training, judged)
