"""Checkpoints in the published layouts of TD-MPC2 and LeWM with random weights, and helpers shared by planning tests."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from planners import ModelProblems
from world_models.adapters.base import Imported
from world_models.base import Context, SquaredDistance, WorldModel
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.store import LoadedModel
from world_models.tasks import Task


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Weights of sensible size: matrices scaled by their inputs, norms about 1, variances positive."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            result[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            result[name] = 0.5 + values.square()
        elif len(shape) >= 2:
            result[name] = values / prod(shape[1:]) ** 0.5
        elif "norm" in name or ".ln." in name or ".net.0." in name or ".net.1." in name:
            result[name] = values * 0.2 + (1.0 if name.endswith("weight") else 0.0)
        else:
            result[name] = 0.2 * values
    return result


def tdmpc2_state(observation: int, action: int, latent: int = 512, hidden: int = 512, encoder: int = 256) -> dict[str, Tensor]:
    """A single-task agent's `model` (github.com/nicklashansen/tdmpc2 of 2026; model size 5 by default)."""
    layers = {
        "_encoder.state": [observation, encoder, latent],
        "_dynamics": [latent + action, hidden, hidden, latent],
        "_reward": [latent + action, hidden, hidden, 101],
        "_pi": [latent, hidden, hidden, 2 * action],
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, widths in layers.items():
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            key = f"{name}.{number}"
            shapes |= {f"{key}.weight": (outputs, inputs), f"{key}.bias": (outputs,)}
            if name in ("_encoder.state", "_dynamics") or number < 2:
                shapes |= {f"{key}.ln.weight": (outputs,), f"{key}.ln.bias": (outputs,)}
    for group in ("_Qs.params", "_detach_Qs_params", "_target_Qs_params"):
        shapes |= {f"{group}.0.weight": (5, hidden, latent + action), f"{group}.0.bias": (5, hidden)}
    return {**random_tensors(shapes), "log_std_min": torch.tensor(-10.0), "log_std_dif": torch.tensor(12.0)}


@dataclass(frozen=True)
class LeWMSizes:
    """Sizes of a LeWM checkpoint; the published ones by default."""

    image: int = 224
    patch: int = 14
    vit: int = 192
    vit_depth: int = 12
    latent: int = 192
    width: int = 192
    depth: int = 6
    inner: int = 1024
    mlp: int = 2048
    projector: int = 2048
    action: int = 10
    history: int = 3


SMALL = LeWMSizes(image=28, vit=64, vit_depth=2, latent=24, width=16, depth=2, inner=128, mlp=32, projector=40)
"""Small enough for planning and derivatives; its predictor is not as wide as its states, so it has all optional layers."""


def lewm_state(sizes: LeWMSizes = LeWMSizes(), old_names: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """A `weights.pt` of LeWM: `old_names` as published (transformers 4), else as transformers 5 names the ViT."""
    vit, latent, width, s = sizes.vit, sizes.latent, sizes.width, sizes
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.embeddings.cls_token": (1, 1, vit),
        "encoder.embeddings.position_embeddings": (1, (s.image // s.patch) ** 2 + 1, vit),
        "encoder.embeddings.patch_embeddings.projection.weight": (vit, 3, s.patch, s.patch),
        "encoder.embeddings.patch_embeddings.projection.bias": (vit,),
        "encoder.layernorm.weight": (vit,),
        "encoder.layernorm.bias": (vit,),
        "predictor.pos_embedding": (1, s.history, latent),
        "action_encoder.patch_embed.weight": (10, s.action, 1),
        "action_encoder.patch_embed.bias": (10,),
    }
    shapes |= _linear("action_encoder.embed.0", 10, 4 * latent) | _linear("action_encoder.embed.2", 4 * latent, latent)
    for number in range(s.vit_depth):
        shapes |= _vit_layer(number, vit, old_names)
    shapes |= _norm("predictor.transformer.norm", width)
    if latent != width:
        shapes |= _linear("predictor.transformer.input_proj", latent, width)
        shapes |= _linear("predictor.transformer.cond_proj", latent, width)
        shapes |= _linear("predictor.transformer.output_proj", width, latent)
    for number in range(s.depth):
        layer = f"predictor.transformer.layers.{number}"
        shapes |= _norm(f"{layer}.attn.norm", width) | {f"{layer}.attn.to_qkv.weight": (3 * s.inner, width)}
        shapes |= _linear(f"{layer}.attn.to_out.0", s.inner, width) | _norm(f"{layer}.mlp.net.0", width)
        shapes |= _linear(f"{layer}.mlp.net.1", width, s.mlp) | _linear(f"{layer}.mlp.net.4", s.mlp, width)
        shapes |= _linear(f"{layer}.adaLN_modulation.1", width, 6 * width)
    for name, inputs in (("projector", vit), ("pred_proj", latent)):
        shapes |= _linear(f"{name}.net.0", inputs, s.projector) | _norm(f"{name}.net.1", s.projector)
        shapes |= {f"{name}.net.1.{statistic}": (s.projector,) for statistic in ("running_mean", "running_var")}
        shapes |= {f"{name}.net.1.num_batches_tracked": ()} | _linear(f"{name}.net.3", s.projector, latent)
    return random_tensors(shapes, seed)


def _vit_layer(number: int, width: int, old_names: bool) -> dict[str, tuple[int, ...]]:
    layer = f"encoder.encoder.layer.{number}" if old_names else f"encoder.layers.{number}"
    query = [f"attention.attention.{name}" for name in ("query", "key", "value")]
    inner = [*query, "attention.output.dense"] if old_names else [f"attention.{name}_proj" for name in "qkvo"]
    first, second = ("intermediate.dense", "output.dense") if old_names else ("mlp.fc1", "mlp.fc2")
    shapes = _norm(f"{layer}.layernorm_before", width) | _norm(f"{layer}.layernorm_after", width)
    for name in inner:
        shapes |= _linear(f"{layer}.{name}", width, width)
    return shapes | _linear(f"{layer}.{first}", width, 4 * width) | _linear(f"{layer}.{second}", 4 * width, width)


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


@contextmanager
def classes_of(*names: str) -> Iterator[dict[str, type[nn.Module]]]:
    """Stand-ins for other people's classes, importable under their dotted names while the block lasts."""
    before, made = dict(sys.modules), {}
    for dotted in names:
        module, _, name = dotted.rpartition(".")
        made[dotted] = type(name, (nn.Module,), {"__module__": module, "__qualname__": name})
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(parts[end - 1]))
        setattr(sys.modules[module], name, made[dotted])
    try:
        yield made
    finally:
        for module in set(sys.modules) - set(before):
            if any(dotted.startswith(f"{module}.") for dotted in names):
                del sys.modules[module]


def save_whole_module(path: Path, state: dict[str, Tensor]) -> None:
    """The pickled object that le-wm's training writes: classes of its own repository around the same tensors."""
    classes = {"encoder": "transformers.models.vit.modeling_vit.ViTModel", "predictor": "module.ARPredictor"}
    with classes_of("jepa.JEPA", "module.Embedder", *classes.values()) as made:
        root = made["jepa.JEPA"]()
        for key, value in state.items():
            *parents, leaf = key.split(".")
            module = root
            for depth, parent in enumerate(parents):
                if parent not in module._modules:
                    kind = made[classes.get(parent, "module.Embedder")] if depth == 0 else nn.Module
                    module.add_module(parent, kind())
                module = module._modules[parent]
                assert module is not None
            if leaf.startswith(("running", "num_batches")):
                module.register_buffer(leaf, value)
            else:
                module.register_parameter(leaf, nn.Parameter(value))
        torch.save(root, path)


def stored(imported: Imported, task: Task, folder: Path) -> LoadedModel:
    """An imported model after it went through a checkpoint folder of ours."""
    card = {"dynamics": dict(task.dynamics), "sensors": dict(imported.sensors), "goal_cost": "latent", "goal_costs": ["latent"]}
    checkpoints.write(folder, imported.format, folder.name, imported.config, imported.tensors, card)
    return checkpoints.load(str(folder))


def problems(model: WorldModel, states: Tensor, steps: int = 3) -> ModelProblems:
    """Problems from the first half of some states to the second half, with actions in [-1, 1]."""
    half = len(states) // 2
    high = torch.ones(model.action_dim, dtype=model.dtype)
    return ModelProblems(Context.at(model, states[:half]), states[half : 2 * half], steps, -high, high, SquaredDistance())
