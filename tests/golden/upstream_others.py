"""Models of TD-MPC2, DINO-WM and jepa-wms with random weights, saved by the functions of their own code.

Part of `tests.golden.record_checkpoints`, which needs checkouts and their packages.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from tests.golden.make_grown_rollouts import _adaptive, _embedding, _plain, _under, import_from
from tests.world_models.adapters.grown import Grown
from world_models.adapters.tdmpc2.multitask import TASKS

OBSERVATION, ACTION = 6, 2
TASK = "cup-catch"


def function_of(file: Path, name: str, **known: Any) -> Callable[..., Any]:
    """A function of a file of theirs, wherever it is nested, with what it finds around it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    module = ast.Module([found], [])
    exec(compile(module, str(file), "exec"), known)
    return known[name]


class _Settings(SimpleNamespace):
    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def agent(checkout: Path, tasks: int, episodic: bool, pictures: bool) -> Any:
    """A small agent of TD-MPC2 with its reward, value functions and policy; of many tasks if `tasks` is not 1."""
    sys.path.insert(0, str(checkout / "tdmpc2"))
    layers, world = importlib.import_module("common.layers"), importlib.import_module("common.world_model")
    layers.enc.__defaults__ = ({},)  # which it keeps from one agent to the next
    torch.manual_seed(0)
    many = tasks > 1
    shape = {"rgb": (9, 64, 64)} if pictures else {"state": (OBSERVATION + 3,)}
    sizes = {"latent_dim": 32, "mlp_dim": 24, "enc_dim": 16, "num_enc_layers": 2, "num_channels": 8, "simnorm_dim": 8}
    heads = {"num_bins": 11, "num_q": 3, "dropout": 0.01, "log_std_min": -10, "log_std_max": 2}
    several = {"multitask": many, "tasks": list(TASKS.get(tasks, ("one",))), "task_dim": 12 if many else 0}
    actions = {"action_dim": ACTION + 3, "action_dims": [ACTION] * tasks}
    model = world.WorldModel(
        _Settings(**sizes, **heads, **several, **actions, obs_shape=shape, obs=next(iter(shape)), episodic=episodic)
    )
    with torch.no_grad():
        for value in (*model._encoder.parameters(), *model._dynamics.parameters()):
            value.add_(0.2 * torch.randn_like(value))
    return model.eval()


def save_agent(checkout: Path, model: Any, path: Path) -> Path:
    """The file of an agent by its `save`."""
    save = function_of(checkout / "tdmpc2" / "tdmpc2.py", "save", torch=torch)
    save(SimpleNamespace(model=model), path)
    return path


@torch.no_grad()
def agent_predictions(model: Any, observation: Tensor, actions: Tensor, many: bool) -> dict[str, Tensor]:
    """Latents `[batch, latent]` of observations and of the steps after them, by the agent's own functions."""
    task = torch.tensor([TASKS[30].index(TASK)]) if many else None

    def padded(values: Tensor, size: int) -> Tensor:
        return torch.nn.functional.pad(values, (0, size - values.shape[1]))

    latent = model.encode(padded(observation, OBSERVATION + 3), task)
    path, state = [], latent
    for action in actions.unbind(1):
        state = model.next(state, padded(action, ACTION + 3), task)
        path.append(state)
    return {"encoder": latent, "prediction": torch.stack(path, 1)}


def save_dino_wm(checkout: Path, case: Grown, folder: Path) -> Path:
    """The folder of a run of DINO-WM by its `save_ckpt`: whole modules and optimisers, the latest and a numbered file."""
    import_from(checkout, "models", bare=("models",))
    vit: Any = importlib.reload(importlib.import_module("models.vit"))
    proprio: Any = importlib.import_module("models.proprio")
    mask = vit.generate_mask_matrix
    vit.generate_mask_matrix = lambda *sizes: SimpleNamespace(to=lambda device: mask(*sizes))  # they say "cuda"
    config: Any = case.model.config
    predictor = vit.ViTPredictor(
        num_patches=config.patches,
        num_frames=config.frames,
        dim=config.encoder.width + config.body_embedding + config.action_embedding,
        depth=config.depth,
        heads=config.heads,
        mlp_dim=config.hidden,
        dim_head=config.head_dim,
    )
    vit.generate_mask_matrix = mask
    predictor.load_state_dict(_under(case.weights, "predictor."))
    accelerator = Accelerator(cpu=True)
    action = _embedding(proprio.ProprioceptiveEmbedding, case.weights, "action_encoder", emb_dim=config.action_embedding)
    body = _embedding(proprio.ProprioceptiveEmbedding, case.weights, "body_encoder", emb_dim=config.body_embedding)
    parts: dict[str, Any] = {"predictor": predictor, "action_encoder": action, "proprio_encoder": body}
    parts = {name: accelerator.prepare(part) for name, part in parts.items()}
    parts["predictor_optimizer"] = accelerator.prepare(torch.optim.AdamW(predictor.parameters()))
    trainer = SimpleNamespace(
        **parts, accelerator=accelerator, epoch=7, _keys_to_save=["epoch", *parts], cfg={"saved_folder": "outputs/run"}
    )
    save = function_of(checkout / "train.py", "save_ckpt", torch=torch, os=os, log=logging.getLogger("dino_wm"))
    folder.mkdir(parents=True)
    with contextlib.chdir(folder):
        save(trainer)
    (folder / "hydra.yaml").write_text("env: {name: pusht}\nframeskip: 5\nimg_size: 224\n", encoding="utf-8")
    return folder


def save_jepa_wms(checkout: Path, case: Grown, folder: Path, own: bool) -> Path:
    """The file of a jepa-wms model by the `save_checkpoint` of its training, its networks in DistributedDataParallel."""
    import_from(checkout, "app")
    config: Any = case.model.config
    predictor = _adaptive(config) if own else _plain(config)
    weights = _under(case.weights, "predictor.")
    if own:
        weights |= {f"action_encoder.{key}": value for key, value in _under(case.weights, "action_encoder.").items()}
    predictor.load_state_dict(weights, strict=False)
    embedding: Any = importlib.import_module("app.plan_common.models.prop_embedding").ProprioceptiveEmbedding
    body = _embedding(embedding, case.weights, "body_encoder", embed_dim=config.body_embedding)
    action = None if own else _embedding(embedding, case.weights, "action_encoder", embed_dim=config.action_embedding)
    folder.mkdir(parents=True)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    try:
        wrap = nn.parallel.DistributedDataParallel
        world = SimpleNamespace(
            predictor=wrap(predictor), action_encoder=action and wrap(action), proprio_encoder=wrap(body), heads={}
        )
        known = {"world_model": world, "optimizer": torch.optim.AdamW(predictor.parameters()), "scaler": None, "rank": 0}
        settings = {"action_encoder": {"action_encoder_inpred": own}, "proprio_encoder": {}}
        rest = {"cfgs_model": settings, "use_proprio": True, "train_heads": False, "logger": logging.getLogger("jepa")}
        file = checkout / "app" / "vjepa_wm" / "train.py"
        path = folder / "jepa_wm_pusht.pth.tar"
        function_of(file, "save_checkpoint", torch=torch, **known, **rest)(3, str(path))
    finally:
        torch.distributed.destroy_process_group()
    (folder / "rendezvous").unlink(missing_ok=True)
    return path


def differing(imported: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that the import has changed or lost; units and the encoder, which the files lack, aside."""
    kept = {name: value for name, value in saved.items() if not name.startswith(("encoder.", "action_units.", "body_units."))}
    return [name for name, value in kept.items() if name not in imported or not torch.equal(imported[name], value.float())]
