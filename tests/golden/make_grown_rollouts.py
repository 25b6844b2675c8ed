"""Compares ours with what other projects' code predicts from one frame: `python -m tests.golden.make_grown_rollouts FOLDER`.

FOLDER holds the projects' files, unpacked: `swm` (galilai-group/stable-worldmodel at addbab4), `dino` (gaoyuezhou/dino_wm at
0a9492f) and `jepa` (facebookresearch/jepa-wms at 6eafb14); their packages einops, tensordict and torchvision are importable.
For each small model with random weights it writes to `grown_rollouts.json` the rollout from one frame, its cost, the gradient
of that by autograd through their rollout, and their predictor's answers for windows of random states. It prints
how far ours are from theirs. With `--published` after FOLDER it only prints, for models of the published sizes in float32.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from tests.world_models.adapters.grown import GOLDEN, NAMES, Grown, grown
from world_models.adapters.patches.model import PatchConfig

Values = dict[str, Tensor]
Window = Callable[[Tensor, Tensor], Tensor]
"""Their state after a window `[1, seen, *state]` of states and one of actions."""


def main(folder: Path, published: bool) -> None:
    """Compare ours with theirs, and write theirs down if the models are small."""
    found = {}
    if not published:
        torch.Tensor.float = torch.Tensor.double  # pyright: ignore[reportAttributeAccessIssue]  # LeWM casts its actions
    with tempfile.TemporaryDirectory() as temporary:
        for name in NAMES:
            case = grown(name, Path(temporary), torch.float32 if published else torch.float64, published)
            theirs, ours = theirs_of(name, case, folder), case.values()
            apart = [f"{key} {float((theirs[key] - ours[key]).abs().max()):.1e}" for key in theirs]
            sizes = [f"of {float(theirs[key].abs().max()):.3g}" for key in theirs]
            sys.stdout.write("  ".join([name, *(" ".join(pair) for pair in zip(apart, sizes, strict=True))]) + "\n")
            found[name] = {key: [float(f"{x:.10g}") for x in value.flatten().tolist()] for key, value in theirs.items()}
    if not published:
        GOLDEN.write_text(json.dumps(found) + "\n", encoding="utf-8")


def theirs_of(name: str, case: Grown, folder: Path) -> Values:
    """The values of their code for a case."""
    if name == "lewm":
        return _lewm(case, folder / "swm")
    if name == "dino_wm":
        return _dino_wm(case, folder / "dino")
    return _jepa_wms(case, folder / "jepa", own=name == "jepa_wm")


def _lewm(case: Grown, folder: Path) -> Values:
    import_from(folder, "stable_worldmodel", bare=("stable_worldmodel", "stable_worldmodel.wm", "stable_worldmodel.wm.lewm"))
    theirs: Any = importlib.import_module("stable_worldmodel.wm.lewm.lewm")
    module: Any = importlib.import_module("stable_worldmodel.wm.lewm.module")
    config: Any = case.model.config
    latent, projector = config.latent_dim, config.projector_width
    predictor = module.Predictor(
        num_frames=config.history,
        input_dim=latent,
        hidden_dim=config.width,
        output_dim=latent,
        depth=config.depth,
        heads=config.heads,
        mlp_dim=config.mlp,
        dim_head=config.head_dim,
        dropout=0.1,
        emb_dropout=0.0,
    )
    action_encoder = module.Embedder(input_dim=10, emb_dim=latent)
    model = theirs.LeWM(
        nn.Identity(),
        predictor,
        action_encoder,
        nn.Identity(),
        module.MLP(latent, projector, latent, norm_fn=nn.BatchNorm1d),
    )
    weights = {k: v for k, v in case.weights.items() if k.startswith(("predictor.", "action_encoder.", "pred_proj."))}
    model.load_state_dict(weights)
    model = model.to(case.start.dtype).eval().requires_grad_(False)
    mean, deviation = (
        torch.as_tensor(x).to(case.start) for x in (config_of(case, "action_mean"), config_of(case, "action_std"))
    )

    def standard(actions: Tensor) -> Tensor:
        return ((actions.unflatten(-1, (-1, 2)) - mean) / deviation).flatten(-2)

    def roll(actions: Tensor) -> Tensor:
        # The embedding is given, so the pictures are not read.
        info = {"emb": case.start[:, None, None], "pixels": torch.zeros(1, 1, 1, 3, 1, 1)}
        return model.rollout(info, standard(actions).unsqueeze(1))["predicted_emb"][:, 0, 1:]

    def window(states: Tensor, actions: Tensor) -> Tensor:
        return model.predict(states, model.action_encoder(standard(actions)))[:, -1]

    def cost(states: Tensor) -> Tensor:
        # Their objective sums over features, and ours averages.
        return (states[:, -1] - case.goal).square().sum(1) / latent

    return _values(case, roll, window, cost)


def config_of(case: Grown, name: str) -> Tensor:
    """A buffer of our model."""
    return dict(case.model.named_buffers())[name]


def _dino_wm(case: Grown, folder: Path) -> Values:
    import_from(folder, "models", bare=("models",))
    vit: Any = importlib.import_module("models.vit")
    proprio: Any = importlib.import_module("models.proprio")
    world: Any = importlib.import_module("models.visual_world_model")
    mask = vit.generate_mask_matrix
    vit.generate_mask_matrix = lambda *sizes: SimpleNamespace(to=lambda device: mask(*sizes))  # they say "cuda"
    config: Any = case.model.config
    width = config.encoder.width + config.body_embedding + config.action_embedding
    predictor = vit.ViTPredictor(
        num_patches=config.patches,
        num_frames=config.frames,
        dim=width,
        depth=config.depth,
        heads=config.heads,
        mlp_dim=config.hidden,
        dim_head=config.head_dim,
    )
    predictor.load_state_dict(_under(case.weights, "predictor."))
    action = _embedding(proprio.ProprioceptiveEmbedding, case.weights, "action_encoder", emb_dim=config.action_embedding)
    body = _embedding(proprio.ProprioceptiveEmbedding, case.weights, "body_encoder", emb_dim=config.body_embedding)
    encoder = nn.Identity()
    encoder.emb_dim, encoder.name, encoder.patch_size = config.encoder.width, "none", 14  # pyright: ignore
    sizes = {"proprio_dim": config.body_embedding, "action_dim": config.action_embedding}
    once = {"num_action_repeat": 1, "num_proprio_repeat": 1}
    model = world.VWorldModel(28, config.history, 1, encoder, body, action, None, predictor, concat_dim=1, **sizes, **once)
    model = model.to(case.start.dtype).requires_grad_(False)
    model.eval()  # theirs returns nothing
    model.encode_obs = lambda obs: obs  # the frame is given as it is encoded
    first, units = config.encoder.width, _units(case)
    objective: Any = importlib.import_module("planning.objectives").create_objective_fn(config.body_weight, 2)

    def split(states: Tensor) -> dict[str, Tensor]:
        return {"visual": states[..., :first], "proprio": states[:, :, 0, first:]}

    def roll(actions: Tensor) -> Tensor:
        _, whole = model.rollout(split(case.start.unsqueeze(1)), units(actions))
        return whole[:, 1:, :, : -config.action_embedding]

    def window(states: Tensor, actions: Tensor) -> Tensor:
        act = model.encode_act(units(actions)).unsqueeze(2).expand(-1, -1, config.patches, -1)
        return model.predict(torch.cat([states, act], -1))[:, -1, :, : -config.action_embedding]

    def cost(states: Tensor) -> Tensor:
        return objective(split(states), split(case.goal.unsqueeze(1)))

    return _values(case, roll, window, cost)


def _jepa_wms(case: Grown, folder: Path, own: bool) -> Values:
    for name in ("timm", "timm.layers", "timm.models", "timm.models.layers", "nevergrad"):
        sys.modules.setdefault(name, MagicMock())
    for name in ("app.plan_common.datasets.droid_dset", "app.plan_common.models.wm_heads", "app.vjepa_wm.utils"):
        sys.modules.setdefault(name, MagicMock())
    import_from(folder, "app")
    config: Any = case.model.config
    first, side, body = config.encoder.width, config.side, config.body_embedding
    predictor = _adaptive(config) if own else _plain(config)
    weights = _under(case.weights, "predictor.")
    if own:
        weights |= {f"action_encoder.{k}": v for k, v in _under(case.weights, "action_encoder.").items()}
    left = predictor.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys, left
    assert all(key.endswith(".bias") and ".0." in key for key in left.missing_keys), left
    action = None
    if not own:
        embedding: Any = importlib.import_module("app.plan_common.models.prop_embedding")
        action = _embedding(
            embedding.ProprioceptiveEmbedding, case.weights, "action_encoder", embed_dim=config.action_embedding
        )
    video: Any = importlib.import_module("app.vjepa_wm.video_wm")
    wrapper: Any = importlib.import_module("app.vjepa_wm.modelcustom.simu_env_planning.vit_enc_preds")
    objectives: Any = importlib.import_module("evals.simu_env_planning.planning.planning.objectives")
    inner = video.VideoWM(
        encoder=nn.Identity(),
        predictor=predictor,
        action_encoder=action,
        proprio_encoder=nn.Identity(),
        enc_type="dino",
        pred_type="AdaLN" if own else "dino_wm",
        grid_size=side,
        tubelet_size_enc=1,
        action_dim=case.model.action_dim,
        proprio_dim=body,
        batchify_video=True,
        action_encoder_inpred=own,
        action_conditioning="token" if own else "feature",
        proprio_encoding="feature",
        device=torch.device("cpu"),
        heads={},
        cfgs_loss={"proprio_loss": True},
    )
    model = wrapper.EncPredWM(inner, action_dim=case.model.action_dim, preprocessor=None, ctxt_window=config.history)
    model = model.to(case.start.dtype).eval().requires_grad_(False)
    units = _units(case)
    tensordict: Any = importlib.import_module("tensordict")

    def split(states: Tensor) -> dict[str, Tensor]:
        pictures = states[..., :first].unflatten(-2, (1, side, side))
        return {"visual": pictures, "proprio": states[..., first:]}

    def roll(actions: Tensor) -> Tensor:
        begin = tensordict.TensorDict(split(case.start.unsqueeze(1)))
        found = model.unroll(begin, act_suffix=units(actions).transpose(0, 1))
        return torch.cat([found["visual"].flatten(2, 4), found["proprio"]], -1).transpose(0, 1)[:, 1:]

    def window(states: Tensor, actions: Tensor) -> Tensor:
        parts = split(states)
        found, _, moved = inner.forward_pred(parts["visual"], inner.encode_act(units(actions)), parts["proprio"])
        return torch.cat([found[:, -1].flatten(1, 3), moved[:, -1]], -1)

    def cost(states: Tensor) -> Tensor:
        goal = tensordict.TensorDict(split(case.goal.unsqueeze(1)))
        objective = objectives.ReprTargetDistMPCObjective({}, goal, sum_all_diffs=False, alpha=config.body_weight)
        parts = {key: value.transpose(0, 1) for key, value in split(states).items()}
        return objective(tensordict.TensorDict(parts), states[:, :, 0, :4])

    return _values(case, roll, window, cost)


def _adaptive(config: PatchConfig) -> nn.Module:
    module: Any = importlib.import_module("app.plan_common.models.AdaLN_vit")
    return module.vit_predictor_AdaLN(
        img_size=(14 * config.side, 14 * config.side),
        patch_size=14,
        num_frames=config.frames,
        tubelet_size=1,
        embed_dim=config.encoder.width,
        predictor_embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        action_dim=config.action_dim * config.action_block,
        proprio_dim=config.body_embedding,
        use_proprio=True,
        proprio_encoding="feature",
        proprio_emb_dim=config.body_embedding,
        proprio_encoder_inpred=False,
        action_encoder_inpred=True,
        local_window=(config.frames, -1, -1),
        use_rope=True,
    )


def _plain(config: PatchConfig) -> nn.Module:
    module: Any = importlib.import_module("app.plan_common.models.vit")
    return module.ViTPredictor(
        num_patches=config.patches,
        num_frames=config.frames,
        dim=config.encoder.width + config.body_embedding + config.action_embedding,
        depth=config.depth,
        heads=config.heads,
        mlp_dim=config.hidden,
        dim_head=config.head_dim,
    )


def _embedding(kind: Any, weights: Mapping[str, Tensor], name: str, **size: int) -> nn.Module:
    """Their encoder of actions or proprioception: a convolution of one step, which we keep as a linear layer."""
    found = kind(num_frames=1, tubelet_size=1, in_chans=weights[f"{name}.weight"].shape[1], **size)
    own = _under(weights, f"{name}.")
    found.load_state_dict({"patch_embed.weight": own["weight"].unsqueeze(2), "patch_embed.bias": own["bias"]})
    return found


def _units(case: Grown) -> Callable[[Tensor], Tensor]:
    """The map of our actions to those that their models were trained on."""
    weight, bias = (config_of(case, f"action_units.{part}") for part in ("weight", "bias"))
    return lambda actions: (actions.unflatten(-1, (-1, 2)) @ weight.T + bias).flatten(-2)


def _values(case: Grown, roll: Callable[[Tensor], Tensor], window: Window, cost: Callable[[Tensor], Tensor]) -> Values:
    actions = case.actions.clone().requires_grad_()
    states = roll(actions)
    ended = cost(states)
    (gradient,) = torch.autograd.grad(ended.sum(), actions)
    path, h = torch.cat([case.start.unsqueeze(1), case.virtual], 1), case.model.history
    seen = [slice(max(0, t + 1 - h), t + 1) for t in range(path.shape[1])]
    lifted = torch.stack([window(path[:, part], case.actions[:, part]) for part in seen], 1)
    return {"rollout": states.detach(), "lifted": lifted, "cost": ended.detach(), "gradient": gradient}


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def import_from(folder: Path, package: str, bare: tuple[str, ...] = ()) -> None:
    """Make a folder's packages importable; the `bare` ones without what their own `__init__` would import."""
    sys.path.insert(0, str(folder))
    for name in bare:
        module = sys.modules[name] = type(sys)(name)
        module.__path__ = [str(folder / name.replace(".", "/"))]
    assert (folder / package).is_dir(), f"{folder} does not hold {package}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--published" in sys.argv)
