"""stable-worldmodel's own loop: its `World`, `WorldModelPolicy`, solvers and LeWM, with noise and costs that can be seen.

It needs `pip install stable-worldmodel` (0.1.1 is what was compared), einops, transformers and scikit-learn. torchvision, of
which a loop at the recorded size needs only a name, may be missing.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.upstream_code import hollow
from world_models.adapters.lewm.vit import IMAGENET_MEAN, IMAGENET_STD

Config = dict[str, Any]


def imported() -> Any:
    """The package, with stand-ins for what of torchvision and stable-pretraining it names."""
    if importlib.util.find_spec("torchvision") is None:
        importlib.import_module("transformers.models.vit.modeling_vit")  # which would take the stand-in for torchvision itself
        transforms = hollow("torchvision.transforms", v2=hollow("torchvision.transforms.v2"))
        images = hollow("torchvision.tv_tensors", Image=lambda values: values)
        hollow("torchvision", tv_tensors=images, transforms=transforms)
    if importlib.util.find_spec("stable_pretraining") is None:
        utils = hollow("stable_pretraining.backbone.utils", vit_hf=_vit)
        hollow("stable_pretraining", backbone=hollow("stable_pretraining.backbone", utils=utils))
    return importlib.import_module("stable_worldmodel")


def _vit(size: str, patch_size: int, image_size: int, pretrained: bool, use_mask_token: bool, **sizes: int) -> nn.Module:
    """A ViT of transformers from scratch, as `vit_hf` makes it, of size tiny but for what is given."""
    from transformers import ViTConfig, ViTModel  # pyright: ignore[reportMissingImports]

    assert size == "tiny"
    assert not pretrained
    tiny = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
    config = ViTConfig(**{**tiny, **sizes}, image_size=image_size, patch_size=patch_size)
    return ViTModel(config, add_pooling_layer=False, use_mask_token=use_mask_token)


def small_lewm(latent: int = 32) -> Config:
    """Settings of a small LeWM as `save_pretrained` keeps them: pictures of 224 px, two layers each, history 3."""
    module = "stable_worldmodel.wm.lewm.module"
    norm = {"_target_": "torch.nn.BatchNorm1d", "_partial_": True}
    vit = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96}
    size = {"num_frames": 3, "input_dim": latent, "hidden_dim": 64, "output_dim": latent, "depth": 2, "heads": 2}
    mlp = {"_target_": f"{module}.MLP", "output_dim": latent, "hidden_dim": 64, "norm_fn": norm}
    return {
        "_target_": "stable_worldmodel.wm.lewm.LeWM",
        "encoder": {
            "_target_": "stable_pretraining.backbone.utils.vit_hf",
            "size": "tiny",
            "patch_size": 28,
            "image_size": 224,
            "pretrained": False,
            "use_mask_token": False,
            **vit,
        },
        "predictor": {"_target_": f"{module}.Predictor", **size, "mlp_dim": 128, "dim_head": 32, "dropout": 0.0},
        "action_encoder": {"_target_": f"{module}.Embedder", "input_dim": 10, "emb_dim": latent},
        "projector": {**mlp, "input_dim": 48},
        "pred_proj": {**mlp, "input_dim": latent},
    }


def made(config: Config) -> nn.Module:
    """The model of some settings, as their loader makes it."""
    from hydra.utils import instantiate

    imported()
    return instantiate(config)


def saved(model: nn.Module, config: Config, folder: Path, name: str) -> Path:
    """The folder of a run that their `save_pretrained` writes: `weights.pt` and `config.json`."""
    from omegaconf import OmegaConf

    imported()
    utils = importlib.import_module("stable_worldmodel.wm.utils")
    utils.save_pretrained(model, name, OmegaConf.create(config), cache_dir=str(folder))
    return folder / "checkpoints" / name


def loaded(folder: Path, name: str) -> nn.Module:
    """The model of a run by their `load_pretrained`, ready to plan."""
    imported()
    model = importlib.import_module("stable_worldmodel.wm.utils").load_pretrained(name, cache_dir=str(folder))
    return model.eval().requires_grad_(False)


@dataclass
class Watched:
    """Costs and elites that a solver reported, as `costs[plan][iteration]`."""

    output_key: str = "watched"
    costs: list[list[Tensor]] = field(default_factory=list)
    elites: list[list[Tensor]] = field(default_factory=list)
    history: list[object] = field(default_factory=list)

    def reset(self) -> None:
        """A plan begins."""
        self.costs.append([])
        self.elites.append([])

    def start_batch(self) -> None:
        """Nothing, as a batch is one problem."""

    def end_solve(self) -> None:
        """Nothing."""

    def __call__(self, **said: Any) -> None:
        """An iteration ended."""
        self.costs[-1].append(said["costs"][0].detach().clone())
        self.elites[-1].append(said["topk_inds"][0].clone())


Noise = Callable[[int, int], Tensor]
"""The noise of an iteration of a plan, `[1, samples, time, action]`."""


@contextlib.contextmanager
def noise_of(noise: Noise, watched: Watched) -> Iterator[None]:
    """Let `torch.randn` return given numbers where a solver of samples draws; others go on as they are."""
    kept = torch.randn

    def drawn(*shape: Any, **options: Any) -> Tensor:
        if len(shape) != 4 or "device" not in options:
            return kept(*shape, **options)
        found = noise(len(watched.costs) - 1, len(watched.costs[-1])).clone()
        assert found.shape == shape, f"{found.shape} numbers of noise for {shape}"
        return found

    torch.randn = drawn
    try:
        yield
    finally:
        torch.randn = kept


@dataclass(frozen=True)
class Evaluation:
    """A published evaluation of stable-worldmodel's: which rows, how long, and what plans."""

    dataset: Path
    environment: str
    offset: int
    budget: int
    horizon: int
    """Model steps of a plan, all of which are executed."""
    block: int = 5


@dataclass(frozen=True)
class Outcome:
    """One problem by their loop."""

    success: bool
    actions: np.ndarray
    """Executed environment actions `[time, 2]`, as the environment got them; it stops where it succeeds."""
    watched: Watched


def evaluate(
    evaluation: Evaluation, solver: Callable[[Watched], Any], rows: Mapping[int, tuple[int, int]], noise: Callable[[int], Noise]
) -> dict[int, Outcome]:
    """Problems, by seed, with the episode and row at which each starts, one `World` of one environment after another."""
    swm = imported()
    from sklearn.preprocessing import StandardScaler  # pyright: ignore[reportMissingImports]

    dataset = importlib.import_module("stable_worldmodel.data.formats.hdf5").HDF5Dataset(path=evaluation.dataset)
    recorded = dataset.get_col_data("action")
    scaler = StandardScaler().fit(recorded[~np.isnan(recorded).any(axis=1)])
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))

    def prepared(picture: np.ndarray) -> Tensor:
        return (torch.as_tensor(picture).float() / 255 - mean) / deviation

    config = swm.PlanConfig(evaluation.horizon, evaluation.horizon, action_block=evaluation.block)
    world = swm.World(evaluation.environment, num_envs=1, image_shape=(224, 224), max_episode_steps=2 * evaluation.budget)
    setters = [
        {"method": "_set_state", "args": {"state": {"value": "state"}}},
        {"method": "_set_goal_state", "args": {"goal_state": {"value": "goal_state"}}},
    ]
    found = {}
    for seed, (episode, start) in rows.items():
        watched, taken = Watched(), []
        policy = swm.policy.WorldModelPolicy(
            solver=solver(watched), config=config, process={"action": scaler}, transform={"pixels": prepared, "goal": prepared}
        )
        world.set_policy(policy)
        step = world.envs.step

        def noted(actions: np.ndarray, step: Any = step, taken: list[np.ndarray] = taken, **options: Any) -> Any:
            taken.append(actions[0].copy())
            return step(actions, **options)

        world.envs.step = noted
        try:
            with noise_of(noise(seed), watched), contextlib.redirect_stdout(io.StringIO()):
                ended = world.evaluate(
                    dataset=dataset,
                    episodes_idx=[episode],
                    start_steps=[start],
                    goal_offset=evaluation.offset,
                    eval_budget=evaluation.budget,
                    callables=setters,
                )
        finally:
            world.envs.step = step
        found[seed] = Outcome(bool(ended["episode_successes"][0]), np.stack(taken), watched)
    return found


def cem(model: nn.Module, samples: int, iterations: int, elites: int) -> Callable[[Watched], Any]:
    """Makes their `CEMSolver` for one problem at a time."""
    imported()
    solver = importlib.import_module("stable_worldmodel.solver.cem").CEMSolver
    return lambda watched: solver(model, num_samples=samples, n_steps=iterations, topk=elites, callbacks=[watched])
