"""TD-MPC2's agents of many tasks: one of their tasks as an agent of its own.

An embedding of the task is appended to the observation and to the latent, observations and actions are padded with zeros to
the sizes of the largest task. For one task the embedding is a constant: its product with the first layers' weights is added to
their biases, and the columns of what is always zero are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.errors import UnknownNameError, require

EMBEDDINGS, MASKS = "_task_emb.weight", "_action_masks"
"""Tensors of the tasks' embeddings `[task, embedding]` and of the actions that each has, `[task, action]`."""

LARGEST_NORM = 1.0
"""Norm to which longer embeddings are scaled down."""

_CONTROL = (
    "walker-stand walker-walk walker-run cheetah-run reacher-easy reacher-hard acrobot-swingup pendulum-swingup "
    "cartpole-balance cartpole-balance-sparse cartpole-swingup cartpole-swingup-sparse cup-catch finger-spin "
    "finger-turn-easy finger-turn-hard fish-swim hopper-stand hopper-hop walker-walk-backwards walker-run-backwards "
    "cheetah-run-backwards cheetah-run-front cheetah-run-back cheetah-jump hopper-hop-backwards reacher-three-easy "
    "reacher-three-hard cup-spin pendulum-spin"
)
_META_WORLD = (
    "assembly basketball button-press-topdown button-press-topdown-wall button-press button-press-wall coffee-button "
    "coffee-pull coffee-push dial-turn disassemble door-open door-close drawer-close drawer-open faucet-open "
    "faucet-close hammer handle-press-side handle-press handle-pull-side handle-pull lever-pull peg-insert-side "
    "peg-unplug-side pick-out-of-hole pick-place pick-place-wall plate-slide plate-slide-side plate-slide-back "
    "plate-slide-back-side push-back push push-wall reach reach-wall shelf-place soccer stick-push stick-pull "
    "sweep-into sweep window-open window-close bin-picking box-close door-lock door-unlock hand-insert"
)

TASKS: Mapping[int, tuple[str, ...]] = {
    len(names): names
    for names in (tuple(_CONTROL.split()), (*_CONTROL.split(), *(f"mw-{name}" for name in _META_WORLD.split())))
}
"""Tasks of the published sets in the order of their embeddings, by their number."""


ACTIONS: Mapping[str, int] = {
    "acrobot": 1,
    "cartpole": 1,
    "cheetah": 6,
    "cup": 2,
    "finger": 2,
    "fish": 5,
    "hopper": 4,
    "mw": 4,
    "pendulum": 1,
    "reacher": 2,
    "reacher-three": 3,
    "walker": 6,
}
"""Sizes of the actions of the published tasks by the beginnings of their names, for older files, which do not hold masks."""


def is_multitask(tensors: Mapping[str, Tensor]) -> bool:
    """Whether an agent is one of many tasks."""
    return EMBEDDINGS in tensors


def check_tasks(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError unless the tasks of an agent are a published set."""
    embeddings, masks = tensors[EMBEDDINGS], tensors.get(MASKS)
    require(
        embeddings.ndim == 2 and len(embeddings) in TASKS,
        f"{path} is a TD-MPC2 agent of {len(embeddings)} tasks, a set without known names: only the published ones of "
        f"{' and '.join(map(str, TASKS))} tasks can be read.",
    )
    require(
        masks is None or (masks.ndim == 2 and len(masks) == len(embeddings)),
        f"{path}: its {MASKS} do not fit its {len(embeddings)} tasks: the file is damaged.",
    )


def single_task(path: Path, tensors: Mapping[str, Tensor], name: str, observation: int, latent: int) -> dict[str, Tensor]:
    """Encoder and dynamics of one task, with observations of size `observation`, as those of an agent of one task.

    Raises UnknownNameError for a task that is not in the set, UserError for another set or sizes that do not fit.
    """
    encoder, dynamics = "_encoder.state.0", "_dynamics.0"
    embedding = _embedding(path, tensors, name)
    first, following = tensors[f"{encoder}.weight"].float(), tensors[f"{dynamics}.weight"].float()
    padded = first.shape[1] - len(embedding)
    require(
        0 < observation <= padded,
        f"{path} takes observations of at most {padded} features, and this task has {observation}: choose the task {name!r}.",
    )
    kept = {key: value for key, value in tensors.items() if key not in (EMBEDDINGS, MASKS)}
    kept[f"{encoder}.weight"] = first[:, :observation]
    kept[f"{encoder}.bias"] = tensors[f"{encoder}.bias"].float() + first[:, padded:] @ embedding
    before, actions = latent + len(embedding), action_count(path, tensors, name)
    kept[f"{dynamics}.weight"] = torch.cat([following[:, :latent], following[:, before : before + actions]], 1)
    kept[f"{dynamics}.bias"] = tensors[f"{dynamics}.bias"].float() + following[:, latent:before] @ embedding
    return kept


def action_count(path: Path, tensors: Mapping[str, Tensor], name: str) -> int:
    """Number of actions of one task, the first of the padded ones. Raises UnknownNameError for a task not in the set."""
    number = _number(path, tensors, name)
    if MASKS in tensors:
        return int((tensors[MASKS][number] > 0).sum())
    return ACTIONS[max((start for start in ACTIONS if name.startswith(start)), key=len)]


def _embedding(path: Path, tensors: Mapping[str, Tensor], name: str) -> Float[Tensor, " embedding"]:
    embedding = tensors[EMBEDDINGS][_number(path, tensors, name)].float()
    norm = float(embedding.norm())
    # As torch's Embedding does it, with its small number in the divisor.
    return embedding * (LARGEST_NORM / (norm + 1e-7) if norm > LARGEST_NORM else 1.0)


def _number(path: Path, tensors: Mapping[str, Tensor], name: str) -> int:
    names = TASKS[len(tensors[EMBEDDINGS])]
    if name not in names:
        raise UnknownNameError(f"task of {path.name}", name, names)
    return names.index(name)
