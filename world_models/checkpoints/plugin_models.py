"""World models and goal costs of a user's own: a callable makes the model, and its weights and code are its digest.

The callable takes no arguments and returns a `WorldModel`, or `Parts` with goal costs, a decoder and sensors as well. It is
called once on the driver, for the card, and once in each worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from safetensors.torch import save as serialise_tensors
from torch import nn

from world_models.base import GoalCost, SquaredDistance, WorldModel, adapted_goal_cost, takes_shorter_windows
from world_models.checkpoints.foreign_models import check_weights, first_line
from world_models.errors import UnknownNameError, UserError, require
from world_models.models.ensemble import Ensemble
from world_models.parts import PREFIX, Parts
from world_models.plugins import PLUGINS, Kind, Plugin, is_target, require_members

PLUGIN = f"{PREFIX}plugin/1"
"""Format on the card of a model that is in no file."""


@dataclass(frozen=True)
class PluginModel:
    """A model that a plug-in made, with its card and content digest."""

    parts: Parts
    card: Mapping[str, object]
    digest: str


def find_plugin_model(name: str) -> PluginModel | None:
    """The model of a plug-in's name; None for a name that no plug-in has.

    Raises UserError for a plug-in that raises, or returns anything but a world model.
    """
    plugin = PLUGINS.find(Kind.WORLD_MODEL, name)
    return None if plugin is None else _described(plugin)


def make_parts(plugin: Plugin) -> Parts:
    """A new model of a plug-in, on the device where it makes it. Raises UserError as `find_plugin_model` does."""
    what = f"world model {plugin.name!r} of {plugin.home}"
    try:
        made = plugin.value()
    except Exception as error:
        raise UserError(f"{what} cannot be made ({first_line(error)}): mend it.") from error
    require_members(what, made.model if isinstance(made, Parts) else made, WorldModel)
    parts = (
        made if isinstance(made, Parts) else Parts(made, {"state": adapted_goal_cost(made, SquaredDistance())}, "state", None)
    )
    check_weights(what, parts)
    return parts


def plugin_parts(name: str) -> Parts:
    """A new model of a plug-in's name, which is known.

    Raises UserError for one whose weights are not those of the model that `find_plugin_model` has described.
    """
    plugin = PLUGINS.demand(Kind.WORLD_MODEL, name, ())
    parts = make_parts(plugin)
    require(
        _digest(plugin, parts) == _described(plugin).digest,
        f"world model {plugin.name!r} of {plugin.home} has other weights each time it is made: load them from a file, or draw "
        "them from a torch.Generator with a fixed seed.",
    )
    return parts


def plugin_goal_cost(name: str, known: Iterable[str], model: object = None) -> GoalCost:
    """A goal cost of a user's own: a function of states and goals, or a class whose objects are one.

    Raises UserError for a name that is neither known nor a plug-in's, and for a plug-in that is not a goal cost.
    """
    what = "goal cost" if model is None else f"goal cost of world model {model!r}"
    if PLUGINS.find(Kind.GOAL_COST, name) is None and not is_target(name):
        raise UnknownNameError(what, name, {*known, *PLUGINS.names(Kind.GOAL_COST)})
    plugin = PLUGINS.demand(Kind.GOAL_COST, name, known)
    try:
        made = plugin.value() if isinstance(plugin.value, type) else plugin.value
    except TypeError as error:
        raise UserError(f"goal cost {name!r} of {plugin.home} cannot be made ({error}): let it take no arguments.") from error
    require(callable(made), f"goal cost {name!r} of {plugin.home} is not callable: it takes states and goals, [n, *state].")
    return made


@cache
def _described(plugin: Plugin) -> PluginModel:
    parts = make_parts(plugin)
    model = parts.model
    sizes = {"action_dim": int(model.action_dim), "action_block": 1, "history": int(model.history)}
    card: dict[str, object] = {
        "format": PLUGIN,
        "name": plugin.name,
        "model": {**sizes, "shorter_windows": takes_shorter_windows(model)},
        "goal_costs": sorted(parts.goal_costs),
        "goal_cost": parts.default_goal_cost,
        "sensors": parts.sensors.as_card(),
        "ensemble": isinstance(model, Ensemble),
        "plugin": {"home": plugin.home, "code": plugin.code},
    }
    return PluginModel(parts, card, _digest(plugin, parts))


def _digest(plugin: Plugin, parts: Parts) -> str:
    """Digest of code and weights."""
    found = hashlib.sha256(f"{plugin.name}\0{plugin.code}\0{parts.default_goal_cost}\0".encode())
    for module in parts.modules():
        found.update(serialise_tensors(_tensors(module)))
    return found.hexdigest()[:16]


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers on the CPU, each with memory of its own, as files need them."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in module.state_dict().items()}
