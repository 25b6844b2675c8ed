"""Models of stable-worldmodel with random weights, saved in every way that its own code, Lightning and PyTorch have.

Part of `tests.golden.record_checkpoints`, which needs a checkout and its packages.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as pl  # pyright: ignore[reportMissingImports]
import stable_pretraining as spt  # pyright: ignore[reportMissingImports]
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EMAWeightAveraging  # pyright: ignore[reportMissingImports]
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import nn
from transformers import Dinov2Config, Dinov2Model  # pyright: ignore[reportMissingImports]

SIDE, FRAMES = 28, 4
HISTORY = 3

Config = dict[str, Any]


def script(checkout: Path, name: str) -> ModuleType:
    """A training script of theirs, as a module."""
    spec = importlib.util.spec_from_file_location(f"their_{name}", checkout / "scripts" / "train" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def jepa_config(kind: str) -> Config:
    """The settings of a small LeWM or PLDM, as their training hands them to `save_pretrained`."""
    module, name = f"stable_worldmodel.wm.{kind}.module", {"lewm": "lewm.LeWM", "pldm": "pldm.pldm.PLDM"}[kind]
    norm = {"_target_": "torch.nn.BatchNorm1d", "_partial_": True}
    projector = {"_target_": f"{module}.MLP", "input_dim": 192, "output_dim": 192, "hidden_dim": 40, "norm_fn": norm}
    size = {"num_frames": HISTORY, "input_dim": 192, "hidden_dim": 192, "output_dim": 192, "depth": 2, "heads": 4}
    return {
        "_target_": f"stable_worldmodel.wm.{name}",
        "encoder": {
            "_target_": "stable_pretraining.backbone.utils.vit_hf",
            "size": "tiny",
            "patch_size": 14,
            "image_size": SIDE,
            "pretrained": False,
            "use_mask_token": False,
        },
        "predictor": {
            "_target_": f"{module}.Predictor",
            **size,
            "mlp_dim": 64,
            "dim_head": 32,
            "dropout": 0.1,
            "emb_dropout": 0.0,
        },
        "action_encoder": {"_target_": f"{module}.Embedder", "input_dim": 10, "emb_dim": 192},
        "projector": projector,
        "pred_proj": projector,
    }


def prejepa_config(order: tuple[str, ...]) -> Config:
    """The settings of a small PreJEPA, whose embeddings follow each other in an order."""
    module, inputs = "stable_worldmodel.wm.prejepa.module", {"proprio": 4, "action": 10}
    patches = (SIDE // 14) ** 2
    embedders = {key: {"_target_": f"{module}.Embedder", "in_chans": inputs[key], "emb_dim": 5 + inputs[key]} for key in order}
    dim = 128 + sum(each["emb_dim"] for each in embedders.values())
    size = {"num_patches": patches, "num_frames": HISTORY, "dim": dim, "depth": 2, "heads": 3, "mlp_dim": 64, "dim_head": 16}
    return {
        "_target_": "stable_worldmodel.wm.PreJEPA",
        "history_size": HISTORY,
        "num_pred": 1,
        "interpolate_pos_encoding": True,
        "encoder": {"_target_": f"{module}.create_backbone", "name": "dinov2_small"},
        "predictor": {"_target_": f"{module}.CausalPredictor", **size, "dropout": 0.1, "emb_dropout": 0.0},
        "extra_encoders": {"_target_": "torch.nn.ModuleDict", "modules": embedders},
    }


def made(config: Config) -> nn.Module:
    """A model of theirs with random weights of sensible size, made by Hydra from its settings."""
    torch.manual_seed(0)
    if "PreJEPA" in config["_target_"]:
        # Their function downloads the weights; the same class takes random ones, with positions of another size.
        size = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
        encoder = Dinov2Model(Dinov2Config(**size, image_size=70, patch_size=14))
        model = instantiate({**config, "encoder": None}, encoder=encoder)
    else:
        model = instantiate(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(
                torch.randn_like(value) / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.2 * torch.randn_like(value)
            )
            if value.ndim == 1 and name.endswith("weight"):
                value.add_(1)
        for name, value in model.named_buffers():
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))
    return model.eval()


Save = Callable[[Path, Path, nn.Module, Config], Path]
"""Writes a model below a folder, with the help of a checkout, and returns the path that a user would name."""


def _hub(folder: Path, checkout: Path, model: nn.Module, config: Config, name: str = "weights.pt") -> Path:
    from stable_worldmodel.wm.utils import save_pretrained  # pyright: ignore[reportMissingImports]

    save_pretrained(model, "pusht", OmegaConf.create(config), filename=name, cache_dir=str(folder))
    return folder / "checkpoints" / "pusht"


def _wrapped(wrap: Callable[[nn.Module], nn.Module]) -> Save:
    return lambda folder, checkout, model, config: _hub(folder, checkout, wrap(model), config)


def _parts_compiled(model: nn.Module) -> nn.Module:
    # As `scripts/plan/eval_wm.py` compiles them.
    model.predictor = torch.compile(model.predictor)  # pyright: ignore
    return nn.DataParallel(model)


def _on_cuda(folder: Path, checkout: Path, model: nn.Module, config: Config) -> Path:
    before = torch.serialization.location_tag
    torch.serialization.location_tag = lambda storage: "cuda:0"
    try:
        return _hub(folder, checkout, model, config)
    finally:
        torch.serialization.location_tag = before


def _safetensors(folder: Path, checkout: Path, model: nn.Module, config: Config) -> Path:
    path = _hub(folder, checkout, model, config)
    (path / "weights.pt").unlink()
    save_file({name: value.clone().contiguous() for name, value in model.state_dict().items()}, path / "model.safetensors")
    return path


def _object(folder: Path, checkout: Path, model: nn.Module, config: Config) -> Path:
    (folder / "pusht").mkdir(parents=True)
    torch.save(model, folder / "pusht" / "epoch_1_object.ckpt")
    return folder / "pusht"


def _trained(folder: Path, checkout: Path, model: nn.Module, config: Config, averaging: bool = False) -> Path:
    """One epoch of their training step under Lightning, whose checkpoint holds optimiser, settings and more."""
    kind = config["_target_"].split(".")[2]
    module = script(checkout, "lewm" if kind == "lewm" else "pldm")
    settings = OmegaConf.create(
        {"wm": {"history_size": HISTORY, "num_preds": 1, "embed_dim": 192}, "loss": {"sigreg": {"weight": 0.09}}}
    )
    settings.data, settings.model = {"dataset": {"name": "pusht_expert_train.lance"}}, config
    others, forward = _losses(module, kind, settings)
    optimiser = {"modules": "model", "optimizer": {"type": "AdamW", "lr": 1e-3}}
    whole = spt.Module(
        model=model, **others, forward=forward, optim={"model_opt": optimiser}, hparams=OmegaConf.to_container(settings)
    )
    rows = [{"pixels": torch.randn(FRAMES, 3, SIDE, SIDE), "action": torch.randn(FRAMES, 10)} for _ in range(8)]
    loader = torch.utils.data.DataLoader(rows, batch_size=4)  # pyright: ignore[reportArgumentType]
    os.environ["STABLEWM_HOME"] = str(folder)
    callbacks = [module.SaveCkptCallback("pusht", OmegaConf.create(config))]
    if averaging:
        callbacks.append(EMAWeightAveraging(decay=0.5))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder, callbacks=callbacks, **quiet)
    trainer.fit(whole, loader)
    (folder / "run").mkdir()
    OmegaConf.save(settings, folder / "run" / "config.yaml")  # as their training scripts do it
    trainer.save_checkpoint(folder / "run" / f"{kind}_weights.ckpt")
    model.eval()
    return folder / "run"


def _losses(module: ModuleType, kind: str, settings: DictConfig) -> tuple[Mapping[str, nn.Module], Callable[..., Any]]:
    if kind == "lewm":
        return {"sigreg": module.SIGReg(knots=5, num_proj=8)}, partial(module.lejepa_forward, cfg=settings)
    settings.loss = {name: {"enabled": True, "weight": 1.0} for name in ("std", "cov", "idm")}
    idm = importlib.import_module("stable_worldmodel.wm.pldm.module").MLP(2 * 192, 16, 10)
    losses = {"idm": idm, "pldm": module.PLDMLoss(), "path_straight": module.TemporalStraighteningLoss()}
    return losses, partial(module.pldm_forward, cfg=settings)


@contextmanager
def _process_group(folder: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _distributed(folder: Path, checkout: Path, model: nn.Module, config: Config) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with _process_group(folder):
        both = torch.compile(nn.parallel.DistributedDataParallel(model, find_unused_parameters=True))
        return _hub(folder, checkout, both, config)  # pyright: ignore[reportArgumentType]


SAVES: Mapping[str, Save] = {
    "weights.pt and config.json (save_pretrained)": _hub,
    "model.safetensors and config.json": _safetensors,
    "torch.compile": _wrapped(torch.compile),  # pyright: ignore[reportArgumentType]
    "compiled parts in DataParallel": _wrapped(_parts_compiled),
    "torch.compile of DistributedDataParallel": _distributed,
    "half precision": _wrapped(nn.Module.half),
    "bfloat16": _wrapped(nn.Module.bfloat16),
    "saved on CUDA": _on_cuda,
    "pickled object": _object,
    "Lightning checkpoint": _trained,
    "Lightning checkpoint, averaged": partial(_trained, averaging=True),
}
