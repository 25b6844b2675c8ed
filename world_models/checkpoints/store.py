"""Checkpoints: a folder with `model.safetensors` and `card.json`. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise_tensors
from torch import Tensor, nn

from world_models.base import Decode, GoalCost, WorldModel, adapted_goal_cost
from world_models.checkpoints.exported.archive import is_archive
from world_models.checkpoints.exported.model import exported_parts, read_exported
from world_models.checkpoints.foreign_models import moved
from world_models.checkpoints.formats import OUTSIDE, assemble, known_format
from world_models.checkpoints.histories import history_of
from world_models.checkpoints.plugin_models import PLUGIN, PluginModel, find_plugin_model, plugin_goal_cost, plugin_parts
from world_models.errors import UserError
from world_models.files.reading import read_json
from world_models.files.writing import write_file
from world_models.history import AS_REPEATED, History
from world_models.models.ensemble import check_price, priced
from world_models.models.gru import RecurrentModel
from world_models.models.mlp import ResidualMLP
from world_models.parts import ENSEMBLE, GOAL_WEIGHTS, PREFIX, Parts
from world_models.plugins import PLUGINS, Kind, is_target
from world_models.sensors import STATE, Sensors

ZOO = Path(__file__).parent.parent / "zoo"
"""Folder of the models that ship with the package, one folder per model."""

CARD_BYTES = 2**24
"""The largest card that is read."""

STATE_GOAL_COSTS = ("state",)
"""Goal costs of a model whose card lists none."""


@dataclass(frozen=True)
class LoadedModel:
    """A world model ready to plan with: its goal cost, decoder and card."""

    name: str
    model: WorldModel
    goal_cost: GoalCost
    """The selected goal cost; by default the model's own."""
    decode: Decode | None
    """Map from model states to state observations (which the task's `pose` reads), for success in the model and for images.

    None if there is no decoder: then neither is available.
    """
    card: Mapping[str, object]
    """Training config, the task dynamics it was trained on (`card["dynamics"]`), errors, seconds, digests."""
    digest: str
    """Content digest of weights and config."""
    sensors: Sensors = STATE
    goal_costs: Mapping[str, GoalCost] = field(default_factory=dict)
    """All goal costs of the model, by name."""
    history: History = AS_REPEATED
    """How the known past becomes the context that planning starts from; by default the card's."""

    def with_history(self, text: str) -> LoadedModel:
        """The same model with another history mode. Raises UserError for one that it cannot take."""
        history = History.of(text).within(self.model.history)
        history.check(self.model)
        return replace(self, history=history)

    def with_goal_cost(self, name: str | None, disagreement: float = 0.0) -> LoadedModel:
        """The same model with another of its goal costs (None: its own) or a plug-in's, and a price on disagreement.

        Raises UnknownNameError for a goal cost that nobody has, UserError for a `disagreement` if it is not an ensemble.
        """
        check_goal_cost(self.card, name, disagreement)
        selected = self.goal_cost if name is None else self.goal_costs.get(name)
        if selected is None:
            assert name is not None
            selected = adapted_goal_cost(self.model, plugin_goal_cost(name, self.goal_costs))
        if isinstance(selected, nn.Module):
            selected.to(device=self.model.device, dtype=self.model.dtype).requires_grad_(False).eval()
        return replace(self, goal_cost=priced(selected, disagreement) if disagreement else selected)


def zoo_names() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(path.parent.name for path in ZOO.glob("*/card.json"))


def resolve(name_or_path: str) -> Path:
    """The checkpoint folder of a zoo name or path; raises UserError with the nearest names if there is none."""
    for folder in (ZOO / name_or_path, Path(name_or_path)):
        if (folder / "card.json").is_file():
            return folder
    if Path(name_or_path).exists():
        raise UserError(
            f"{name_or_path} is not a checkpoint folder: it needs card.json and model.safetensors, which `grasp train` writes."
        )
    if "/" in name_or_path and not is_target(name_or_path):
        raise UserError(
            f"there is no world model in {name_or_path}: train one (`grasp train {Path(name_or_path).name}`, if "
            f"conf/world_model has that name), or give another folder or one of {', '.join(zoo_names())}."
        )
    PLUGINS.demand(Kind.WORLD_MODEL, name_or_path, zoo_names())
    raise UserError(f"world model {name_or_path!r} is a plug-in, which is in no folder: name a checkpoint's.")


def read_card(name_or_path: str) -> tuple[Mapping[str, object], str]:
    """Card and content digest, without building the model (the driver needs them for cell ids); a plug-in's is built."""
    if is_archive(name_or_path):
        files = read_exported(Path(name_or_path))
        return files.card, files.digest
    if (plugin := _plugin_of(name_or_path)) is not None:
        return plugin.card, plugin.digest
    folder = resolve(name_or_path)
    try:
        card = read_json(folder / "card.json", dict[str, object], "a model's card", "train or copy the model again", CARD_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{folder / 'card.json'} was removed while it was read: train or copy the model again.") from error
    if not str(card.get("format")).startswith(PREFIX):
        raise UserError(
            f"{folder / 'card.json'} says format {card.get('format')!r}, expected {PREFIX}...: "
            "it is not a checkpoint of this package."
        )
    known_format(card)
    digest = content_digest(card, _read_weights(folder))
    if card.get("content_digest") != digest:
        raise UserError(
            f"{folder / 'model.safetensors'} is truncated or does not fit its card "
            f"(digest {digest}, the card says {card.get('content_digest')}): copy both files again."
        )
    return card, digest


def content_digest(card: Mapping[str, object], weights: bytes) -> str:
    """Digest of everything that determines a model's outputs: sizes, dynamics, sensors, its own goal cost, weights.

    Excludes when and for how long it was trained.
    """
    senses = [card.get(key) for key in ("format", "sensors", "goal_cost")] if "goal_cost" in card else []
    config = json.dumps([card.get("model"), card.get("dynamics"), *senses], sort_keys=True)
    return hashlib.sha256(config.encode() + weights).hexdigest()[:16]


def load(name_or_path: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load a checkpoint or an archive, or make a plug-in's model.

    Raises UserError for an unknown name, a truncated or foreign file, and a plug-in's or archive's model that cannot be moved.
    """
    if is_archive(name_or_path):
        files = read_exported(Path(name_or_path))
        parts = moved(f"world model {name_or_path}", exported_parts(files), device, dtype)
        return _loaded(files.path.stem, parts, files.card, files.digest)
    card, digest = read_card(name_or_path)
    if card["format"] == PLUGIN:
        parts = moved(f"world model {name_or_path!r}", plugin_parts(name_or_path), device, dtype)
        return _loaded(name_or_path, parts, card, digest)
    folder = resolve(name_or_path)
    try:
        parts = assemble(card, parse_tensors(_read_weights(folder)))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{folder / 'model.safetensors'} is truncated or does not fit its card ({reason}): copy it again."
        ) from error
    for module in parts.modules():
        module.to(device=device, dtype=dtype).requires_grad_(False).eval()
    return _loaded(folder.name, parts, card, digest)


def _loaded(name: str, parts: Parts, card: Mapping[str, object], digest: str) -> LoadedModel:
    goal_cost = parts.goal_costs[parts.default_goal_cost]
    rest = parts.decode, card, digest, parts.sensors, parts.goal_costs
    return LoadedModel(name, parts.model, goal_cost, *rest, history=history_of(card))


def _plugin_of(name: str) -> PluginModel | None:
    """The plug-in's model of a name that is neither in the zoo nor a folder; None without one."""
    is_folder = any((folder / "card.json").is_file() for folder in (ZOO / name, Path(name)))
    return None if is_folder else find_plugin_model(name)


def read_tensors(name_or_path: str) -> dict[str, Tensor]:
    """A checkpoint's tensors on the CPU, as they are stored; raises UserError if `load` would."""
    read_card(name_or_path)
    return parse_tensors(_read_weights(resolve(name_or_path)))


def save(
    folder: Path,
    name: str,
    model: ResidualMLP | RecurrentModel,
    goal_weights: Float[Tensor, " observation"],
    card: Mapping[str, object],
) -> Path:
    """Write a state model's checkpoint folder."""
    tensors = {**model.state_dict(), GOAL_WEIGHTS: goal_weights}
    kind = "recurrent" if isinstance(model, RecurrentModel) else "residual-mlp"
    return write(folder, f"{PREFIX}{kind}/1", name, asdict(model.config), tensors, card)


def write(
    folder: Path,
    format: str,
    name: str,
    config: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    card: Mapping[str, object],
) -> Path:
    """Write a checkpoint folder: weights first and the card last, each atomically. Raises WriteError.

    `config` holds the architecture's sizes, including `action_dim` (of one environment action) and `action_block`. Floats are
    stored as float32. A card with several goal costs lists them in `goal_costs` and names the default in `goal_cost`.
    """
    weights = serialise_tensors({key: _stored(value) for key, value in tensors.items()})
    full = {"format": format, "name": name, "model": dict(config), **card}
    full["content_digest"] = content_digest(full, weights)
    for file, content in (("model.safetensors", weights), ("card.json", (json.dumps(full, indent=2) + "\n").encode())):
        write_file(folder / file, content)
    return folder


def _stored(tensor: Tensor) -> Tensor:
    """The tensor as stored in the file: on the CPU, float32 if floating, contiguous and not sharing memory."""
    stored = tensor.detach().cpu()
    return (stored.float() if stored.is_floating_point() else stored).clone(memory_format=torch.contiguous_format)


def own_goal_cost(card: Mapping[str, object]) -> str:
    """Name of a model's default goal cost."""
    return str(card.get("goal_cost", STATE_GOAL_COSTS[0]))


def check_goal_cost(card: Mapping[str, object], name: str | None, disagreement: float) -> None:
    """Raise UserError unless a card's model has the goal cost (None: its own) and, if `disagreement` > 0, is an ensemble."""
    known = card.get("goal_costs", STATE_GOAL_COSTS)
    assert isinstance(known, list | tuple)
    if name is not None and name not in known:
        plugin_goal_cost(name, known, card.get("name"))
    check_price(disagreement)
    if disagreement != 0.0 and card.get("format") != ENSEMBLE and not card.get("ensemble"):
        raise UserError(
            f"disagreement {disagreement:g} needs an ensemble, and world model {card.get('name')!r} is not one: train one with "
            "train.ensemble=5, or leave it out."
        )


def check_fit(card: Mapping[str, object], dynamics: Mapping[str, object], action_size: int) -> None:
    """Raise UserError unless a model's card fits a task's dynamics and model-step action size.

    Of a plug-in's model, or an archive's, only the action size is known.
    """
    config = card["model"]
    assert isinstance(config, Mapping)
    size = config["action_dim"] * config["action_block"]
    name = card.get("name")
    if size != action_size:
        raise UserError(
            f"world model {name!r} takes actions of size {size}, and the task's model step has {action_size} "
            "(action size x action_block): choose the model that was trained on this task."
        )
    trained = card.get("dynamics")
    if card["format"] not in OUTSIDE and trained != dict(dynamics):
        raise UserError(
            f"world model {name!r} was trained on {_words(trained)}, not on {_words(dynamics)}: "
            "choose the task settings that it was trained on, or train a model."
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
