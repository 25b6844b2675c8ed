"""Checkpoints in the layouts that DINOv2, DINO-WM and jepa-wms publish, with random weights: key names and shapes by hand."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

Shapes = dict[str, tuple[int, ...]]


def dinov2_shapes(width: int = 384, depth: int = 12, hidden: int = 1536, positions: int = 1370) -> Shapes:
    """`dinov2_vits14_pretrain.pth`."""
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, positions, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(depth):
        block: Shapes = {
            **{f"norm{k}.{part}": (width,) for k in (1, 2) for part in ("weight", "bias")},
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "ls1.gamma": (width,),
            "mlp.fc1.weight": (hidden, width),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden),
            "mlp.fc2.bias": (width,),
            "ls2.gamma": (width,),
        }
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    return shapes


def causal_vit_shapes(tokens: int, width: int, depth: int = 6, inner: int = 1024, hidden: int = 2048) -> Shapes:
    """DINO-WM's predictor, without the masks that jepa-wms keeps as buffers."""
    shapes: Shapes = {
        "pos_embedding": (1, tokens, width),
        "transformer.norm.weight": (width,),
        "transformer.norm.bias": (width,),
    }
    for i in range(depth):
        layer: Shapes = {
            "0.norm.weight": (width,),
            "0.norm.bias": (width,),
            "0.to_qkv.weight": (3 * inner, width),
            "0.to_out.0.weight": (width, inner),
            "0.to_out.0.bias": (width,),
            "1.net.0.weight": (width,),
            "1.net.0.bias": (width,),
            "1.net.1.weight": (hidden, width),
            "1.net.1.bias": (hidden,),
            "1.net.4.weight": (width, hidden),
            "1.net.4.bias": (width,),
        }
        shapes |= {f"transformer.layers.{i}.{name}": shape for name, shape in layer.items()}
    return shapes


def modulated_vit_shapes(
    visual: int = 384, width: int = 384, proprioception: int = 16, action: int = 10, depth: int = 6
) -> Shapes:
    """jepa-wms' predictor, which holds the action encoder."""
    full = width + proprioception
    shapes: Shapes = {
        "predictor_embed.weight": (width, visual),
        "predictor_embed.bias": (width,),
        "action_encoder.weight": (full, action),
        "action_encoder.bias": (full,),
        "predictor_norm.weight": (full,),
        "predictor_norm.bias": (full,),
        "predictor_proj.weight": (visual, width),
        "predictor_proj.bias": (visual,),
    }
    for i in range(depth):
        block: Shapes = {
            **{f"norm{k}.{part}": (full,) for k in (1, 2) for part in ("weight", "bias")},
            "attn.qkv.weight": (3 * full, full),
            "attn.qkv.bias": (3 * full,),
            "attn.proj.weight": (full, full),
            "attn.proj.bias": (full,),
            "mlp.fc1.weight": (4 * full, full),
            "mlp.fc1.bias": (4 * full,),
            "mlp.fc2.weight": (full, 4 * full),
            "mlp.fc2.bias": (full,),
            "adaLN_modulation.1.weight": (6 * full, full),
            "adaLN_modulation.1.bias": (6 * full,),
        }
        shapes |= {f"predictor_blocks.{i}.{name}": shape for name, shape in block.items()}
    return shapes


def embedding_shapes(inputs: int, embedding: int) -> Shapes:
    """An action or proprioception encoder."""
    return {"patch_embed.weight": (embedding, inputs, 1), "patch_embed.bias": (embedding,)}


def drawn(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Weights that keep activations of order one: matrices by their inputs, norms and scales about one."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1 and name.endswith(("weight", "gamma")):
            result[name] = 1 + 0.1 * noise
        elif len(shape) == 1:
            result[name] = 0.1 * noise
        elif name.endswith("weight"):
            result[name] = noise / max(1, noise[0].numel()) ** 0.5
        else:
            result[name] = 0.3 * noise
    return result


def dinov2_file(folder: Path, **sizes: int) -> tuple[Path, dict[str, Tensor]]:
    """The encoder's weights file."""
    tensors = drawn(dinov2_shapes(**sizes), 1)
    path = folder / "dinov2_vits14_pretrain.pth"
    torch.save(tensors, path)
    return path, tensors


CLASSES = (
    *(f"models.vit.{name}" for name in ("ViTPredictor", "Transformer", "Attention", "FeedForward")),
    "models.proprio.ProprioceptiveEmbedding",
)
"""Module classes named in DINO-WM's files, besides torch's own."""


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[nn.Module]]:
    """Empty module classes that pickle under the published names."""
    made: dict[str, type[nn.Module]] = {}
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    for dotted in CLASSES:
        module, name = dotted.rsplit(".", 1)
        if module not in sys.modules:
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        made[name] = type(name, (nn.Module,), {"__module__": module, "__qualname__": name})
        setattr(sys.modules[module], name, made[name])
    return made


@dataclass(frozen=True)
class DinoWM:
    """Sizes of a DINO-WM; the published ones by default."""

    visual: int = 384
    patches: int = 196
    frames: int = 3
    depth: int = 6
    heads: int = 16
    head_dim: int = 64
    hidden: int = 2048
    action: int = 10
    proprioception: int = 4
    embedding: int = 10

    @property
    def width(self) -> int:
        return self.visual + 2 * self.embedding

    @property
    def shapes(self) -> Shapes:
        size = (self.frames * self.patches, self.width, self.depth, self.heads * self.head_dim, self.hidden)
        return causal_vit_shapes(*size)


def dino_wm_file(
    folder: Path, classes: Mapping[str, type[nn.Module]], sizes: DinoWM, settings: str | None = None
) -> tuple[Path, dict[str, dict[str, Tensor]]]:
    """`checkpoints/model_latest.pth` with whole modules, `hydra.yaml` next to its folder, and the modules' state dicts."""
    states = {
        "predictor": drawn(sizes.shapes, 2),
        "action_encoder": drawn(embedding_shapes(sizes.action, sizes.embedding), 3),
        "proprio_encoder": drawn(embedding_shapes(sizes.proprioception, sizes.embedding), 4),
    }
    predictor = _predictor(classes, sizes)
    predictor.load_state_dict(states["predictor"])
    content: dict[str, object] = {"epoch": 100, "predictor": predictor}
    optimiser = torch.optim.AdamW(predictor.parameters())
    predictor.transformer.norm(torch.randn(2, sizes.width)).sum().backward()  # pyright: ignore
    optimiser.step()
    content["predictor_optimizer"] = optimiser
    for name, inputs in (("action_encoder", sizes.action), ("proprio_encoder", sizes.proprioception)):
        encoder = classes["ProprioceptiveEmbedding"]()
        encoder.num_frames, encoder.tubelet_size, encoder.in_chans, encoder.emb_dim = 1, 1, inputs, sizes.embedding
        encoder.patch_embed = nn.Conv1d(inputs, sizes.embedding, 1)
        encoder.load_state_dict(states[name])
        content[name] = encoder
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoints" / "model_latest.pth"
    states["predictor"] = {name: value.detach().clone() for name, value in predictor.state_dict().items()}
    torch.save(content, path)
    if settings is not None:
        (folder / "hydra.yaml").write_text(settings, encoding="utf-8")
    return path, states


def _predictor(classes: Mapping[str, type[nn.Module]], sizes: DinoWM) -> nn.Module:
    width, inner = sizes.width, sizes.heads * sizes.head_dim
    frame = torch.arange(sizes.frames * sizes.patches) // sizes.patches
    layers = nn.ModuleList()
    for _ in range(sizes.depth):
        attention, feed = classes["Attention"](), classes["FeedForward"]()
        attention.heads, attention.scale = sizes.heads, sizes.head_dim**-0.5
        attention.norm, attention.attend, attention.dropout = nn.LayerNorm(width), nn.Softmax(-1), nn.Dropout(0.1)
        attention.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        attention.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(0.1))
        attention.bias = (frame.unsqueeze(1) >= frame).float()[None, None]
        parts = (nn.LayerNorm(width), nn.Linear(width, sizes.hidden), nn.GELU(), nn.Dropout(0.1))
        feed.net = nn.Sequential(*parts, nn.Linear(sizes.hidden, width), nn.Dropout(0.1))
        layers.append(nn.ModuleList([attention, feed]))
    top, transformer = classes["ViTPredictor"](), classes["Transformer"]()
    top.pos_embedding = nn.Parameter(torch.zeros(1, sizes.frames * sizes.patches, width))
    transformer.norm, transformer.layers = nn.LayerNorm(width), layers
    top.dropout, top.transformer, top.pool = nn.Dropout(0.0), transformer, "mean"
    return top


def jepa_wms_file(folder: Path, own: bool, proprioception: int = 4) -> tuple[Path, dict[str, dict[str, Tensor]]]:
    """A `.pth.tar` of state dicts: jepa-wms' own predictor, or its DINO-WM baseline (masks among the buffers)."""
    embedding = 16 if own else 20
    states = {"proprio_encoder": drawn(embedding_shapes(proprioception, embedding), 4)}
    if own:
        states["predictor"] = drawn(modulated_vit_shapes(), 5)
    else:
        states["predictor"] = drawn(causal_vit_shapes(4 * 256, 384 + embedding + 10), 5)
        states["action_encoder"] = drawn(embedding_shapes(10, 10), 3)
        frame = torch.arange(4 * 256) // 256
        mask = (frame.unsqueeze(1) >= frame).float()[None, None]
        states["predictor"] |= {f"transformer.layers.{i}.0.bias": mask for i in range(6)}
    content: dict[str, object] = {"opt": {"state": {}, "param_groups": []}, "scaler": None, "epoch": 50}
    for name, state in states.items():
        content[name] = {f"module.{key}": value for key, value in state.items()}
    path = folder / f"{'own' if own else 'baseline'}.pth.tar"
    torch.save(content, path)
    return path, states
