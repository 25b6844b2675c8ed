"""Checkpoints: a folder with `model.safetensors` and `card.json`. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise_tensors
from torch import Tensor

from world_models.base import GoalCost, WorldModel
from world_models.errors import UnknownNameError, UserError, require
from world_models.mlp import MLPConfig, ResidualMLP, StateGoalCost

ZOO = Path(__file__).parent / "zoo"
"""Models that ship with the package, a folder each."""

FORMAT = "grasp-orchestrator/residual-mlp/1"
"""What `card["format"]` says; another value is refused."""

GOAL_WEIGHTS = "goal_cost.weights"


@dataclass(frozen=True)
class LoadedModel:
    """A world model ready to plan with: its goal cost, how to read observations off states, and its card."""

    name: str
    model: WorldModel
    goal_cost: GoalCost
    decode: Callable[[Float[Tensor, n * state]], Float[Tensor, "n observation"]]
    """Model states to state observations (what the task's `pose` reads): for success in the model and pictures."""
    card: Mapping[str, object]
    """Training config, task dynamics it was trained on (`card["dynamics"]`), errors, seconds, digests."""
    digest: str
    """Content digest of weights and config."""


def zoo_names() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(path.parent.name for path in ZOO.glob("*/card.json"))


def resolve(name_or_path: str) -> Path:
    """The checkpoint folder of a zoo name or path; UserError with the nearest names otherwise."""
    for folder in (ZOO / name_or_path, Path(name_or_path)):
        if (folder / "card.json").is_file():
            return folder
    if Path(name_or_path).exists():
        raise UserError(
            f"{name_or_path} is no checkpoint folder: it needs card.json and model.safetensors, as `grasp train` writes."
        )
    raise UnknownNameError("world model", name_or_path, zoo_names())


def read_card(name_or_path: str) -> tuple[Mapping[str, object], str]:
    """Card and content digest without building the model (what the driver needs to make cell ids)."""
    folder = resolve(name_or_path)
    try:
        card = json.loads((folder / "card.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'card.json'} cannot be read ({error}): train or copy the model again.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise UserError(f"{folder / 'card.json'} says format {found!r}, expected {FORMAT!r}: it is not a model of ours.")
    digest = content_digest(card, _read_weights(folder))
    if card.get("content_digest") != digest:
        raise UserError(
            f"{folder / 'model.safetensors'} is truncated or does not fit its card "
            f"(digest {digest}, the card says {card.get('content_digest')}): copy both files again."
        )
    return card, digest


def content_digest(card: Mapping[str, object], weights: bytes) -> str:
    """Digest of what determines a model's outputs: sizes, dynamics, weights. Not of when or how long it was trained."""
    config = json.dumps([card.get("model"), card.get("dynamics")], sort_keys=True)
    return hashlib.sha256(config.encode() + weights).hexdigest()[:16]


def load(name_or_path: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load a checkpoint; UserError for an unknown name, a truncated or foreign file."""
    card, digest = read_card(name_or_path)
    folder = resolve(name_or_path)
    try:
        tensors = parse_tensors(_read_weights(folder))
        goal_cost = StateGoalCost(tensors.pop(GOAL_WEIGHTS))
        config = card["model"]
        require(isinstance(config, dict), "its sizes are missing")
        model = ResidualMLP(MLPConfig(**config))  # pyright: ignore[reportCallIssue]
        model.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, RuntimeError, UserError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{folder / 'model.safetensors'} is truncated or does not fit its card ({reason}): copy it again."
        ) from error
    model = model.to(device=device, dtype=dtype).requires_grad_(False).eval()
    goal_cost = goal_cost.to(device=device, dtype=dtype)
    return LoadedModel(folder.name, model, goal_cost, model.decode, card, digest)


def save(
    folder: Path, name: str, model: ResidualMLP, goal_weights: Float[Tensor, " observation"], card: Mapping[str, object]
) -> Path:
    """Write a checkpoint folder; weights first and the card last, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().float().cpu().contiguous() for key, value in model.state_dict().items()}
    weights = serialise_tensors({**tensors, GOAL_WEIGHTS: goal_weights.float().cpu()})
    full = {"format": FORMAT, "name": name, "model": asdict(model.config), **card}
    full["content_digest"] = content_digest(full, weights)
    for file, content in (("model.safetensors", weights), ("card.json", (json.dumps(full, indent=2) + "\n").encode())):
        temporary = folder / f"{file}.{os.getpid()}.tmp"
        temporary.write_bytes(content)
        temporary.replace(folder / file)
    return folder


def check_fit(card: Mapping[str, object], dynamics: Mapping[str, object], action_size: int) -> None:
    """UserError unless a model's card fits a task's dynamics and model-step action size."""
    config = card["model"]
    assert isinstance(config, Mapping)
    size = config["action_dim"] * config["action_block"]
    name = card.get("name")
    if size != action_size:
        raise UserError(
            f"world model {name!r} takes actions of size {size}, the task's model step has {action_size} "
            "(action size x action_block): choose the model that was trained on this task."
        )
    trained = card["dynamics"]
    if trained != dict(dynamics):
        raise UserError(
            f"world model {name!r} was trained on {_words(trained)}, not on {_words(dynamics)}: "
            "choose the task settings it knows, or train one."
        )


def _words(dynamics: object) -> str:
    assert isinstance(dynamics, Mapping)
    settings = ", ".join(f"{key} {value}" for key, value in dynamics.items() if key != "name")
    return f"{dynamics.get('name')} ({settings})"


def _read_weights(folder: Path) -> bytes:
    try:
        return (folder / "model.safetensors").read_bytes()
    except OSError as error:
        raise UserError(f"{folder / 'model.safetensors'} cannot be read ({error.strerror}): copy the model again.") from error
