"""Imports what other projects' own code has saved, and compares: `python -m tests.golden.record_checkpoints --swm DIR ...`.

DIR are checkouts of galilai-group/stable-worldmodel (addbab4), gaoyuezhou/dino_wm (0a9492f), facebookresearch/jepa-wms
(6eafb14) and nicklashansen/tdmpc2 (e9f5932). Their models get random weights, are saved by their own code, and are imported
here; encoder, prediction and cost from one frame, with their own preprocessing, are compared with ours. It prints the
largest differences, and writes the names and shapes of their tensors to `checkpoint_layouts.json`, which tests hold their own
files against. It needs `pip install lightning stable-pretraining transformers einops tensordict accelerate`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tests.golden.make_grown_rollouts import theirs_of
from tests.golden.upstream_others import (
    ACTION,
    OBSERVATION,
    TASK,
    agent,
    agent_predictions,
    differing,
    save_agent,
    save_dino_wm,
    save_jepa_wms,
)
from tests.golden.upstream_swm import SAVES, SIDE, jepa_config, made, prejepa_config, script
from tests.world_models.adapters.grown import grown
from tests.world_models.adapters.published import dinov2_file
from world_models.adapters import kinds
from world_models.adapters.base import Given
from world_models.adapters.lewm.files import ACTION_STATISTICS
from world_models.adapters.patches.model import PatchModel
from world_models.base import Context, PixelObservation, rollout
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.formats import assemble
from world_models.checkpoints.store import LoadedModel
from world_models.errors import UserError
from world_models.tasks import make_task

LAYOUTS = Path(__file__).with_name("checkpoint_layouts.json")
STEPS, BATCH = 5, 2
Layout = dict[str, list[int]]


def main(arguments: argparse.Namespace) -> None:
    """Compare ours with theirs for every kind and way of saving, and write the layouts."""
    sys.path.insert(0, str(arguments.swm))
    with tempfile.TemporaryDirectory() as temporary:
        layouts = {**_compare_jepas(Path(temporary), arguments), **_compare_prejepas(Path(temporary), arguments)}
        layouts |= _compare_agents(Path(temporary), arguments)
        _compare_patches(Path(temporary), arguments)
    LAYOUTS.write_text(json.dumps(layouts, separators=(",", ":")) + "\n", encoding="utf-8")


def _compare_jepas(folder: Path, arguments: argparse.Namespace) -> dict[str, Layout]:
    """stable-worldmodel's LeWM and PLDM."""
    layouts = {}
    for kind in ("lewm", "pldm"):
        for name, save in SAVES.items():
            config = jepa_config(kind)
            model = made(config)
            layouts[kind] = _layout(model)
            path = save(folder / kind / name.replace(" ", "_"), arguments.swm, model, config)
            for choice in (None, "trained", "averaged") if "averaged" in name else (None,):
                theirs = _taken(model, path, choice) if "Lightning" in name else model
                asked = f", --weights {choice}" if choice else ""
                _say(f"{kind}, {name}{asked}", _jepa(theirs, path, Given(weights=choice), arguments))
    return layouts


def _compare_prejepas(folder: Path, arguments: argparse.Namespace) -> dict[str, Layout]:
    layouts = {}
    for order in (("proprio", "action"), ("action", "proprio"), ("action",)):
        for name, save in SAVES.items():
            if "Lightning" not in name:
                config = prejepa_config(order)
                model = made(config)
                layouts.setdefault("prejepa", _layout(model))
                path = save(folder / "-".join(order) / name.replace(" ", "_"), arguments.swm, model, config)
                _say(f"prejepa of {' and '.join(order)}, {name}", _prejepa(model, path, order, arguments))
    return layouts


def _compare_agents(folder: Path, arguments: argparse.Namespace) -> dict[str, Layout]:
    """TD-MPC2: for this, a task of ours with as many observations and actions takes the place of theirs."""
    layouts = {}
    generator = torch.Generator().manual_seed(1)
    for name, tasks, episodic in (("tdmpc2", 1, False), ("tdmpc2 episodic", 1, True), ("tdmpc2 of 30 tasks", 30, False)):
        model = agent(arguments.tdmpc2, tasks, episodic, pictures=False)
        path = save_agent(arguments.tdmpc2, model, folder / f"{name}.pt")
        layouts[name] = _layout(model)
        observed, acted = (OBSERVATION, ACTION) if tasks > 1 else (OBSERVATION + 3, ACTION + 3)
        sizes = SimpleNamespace(name=TASK, observation_dim=observed, action_dim=acted, action_block=1)
        found = kinds.recognise(path, Given(environment=TASK if tasks > 1 else None))
        one = kinds.adapter("tdmpc2").convert(found, sizes)  # pyright: ignore[reportArgumentType]
        ours = assemble({"format": one.format, "model": one.config, "sensors": one.sensors}, dict(one.tensors)).model
        observation = torch.randn(BATCH, observed, generator=generator)
        actions = torch.rand(BATCH, STEPS, acted, generator=generator) * 2 - 1
        states = ours.encode(observation)
        values = {"encoder": states, "prediction": rollout(ours, _one_frame(states, actions), actions)}
        _say(name, _apart(values, agent_predictions(model, observation, actions, tasks > 1)))
    path = save_agent(arguments.tdmpc2, agent(arguments.tdmpc2, 1, False, pictures=True), folder / "pictures.pt")
    _refused("tdmpc2 of pictures", path)
    return layouts


def _compare_patches(folder: Path, arguments: argparse.Namespace) -> None:
    """DINO-WM and jepa-wms at the published sizes."""
    task = make_task("push_t", action_block=5)
    folders = folder / "theirs"
    folders.mkdir()
    for name, checkout in (("dino", arguments.dino), ("jepa", arguments.jepa)):
        (folders / name).symlink_to(checkout.resolve())
    weights, _ = dinov2_file(folder, depth=1)
    for name in ("dino_wm", "jepa_wm", "jepa_wms_baseline"):
        case = grown(name, folder, torch.float32, published=True)
        theirs = theirs_of(name, case, folders)  # before saving, which needs the same modules without stand-ins
        if name == "dino_wm":
            path = save_dino_wm(arguments.dino, case, folder / name)
        else:
            path = save_jepa_wms(arguments.jepa, case, folder / name, own=name == "jepa_wm")
        one = kinds.convert(kinds.recognise(path), task, weights)
        lost = differing(one.tensors, case.weights)
        sys.stdout.write(f"{'BAD' if lost else 'ok '} {name}: {len(lost)} tensors differ after saving and importing\n")
        _say(name, {key: value for key, value in _apart(case.values(), theirs).items() if key != "gradient"})


def _refused(name: str, path: Path) -> None:
    try:
        kinds.recognise(path)
    except UserError as error:
        sys.stdout.write(f"ok  {name} is refused: {str(error).removeprefix(str(path))}\n")


def _layout(model: torch.nn.Module) -> Layout:
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def _taken(model: torch.nn.Module, path: Path, choice: str | None) -> torch.nn.Module:
    """The model with the weights that a Lightning checkpoint holds, as torch reads them."""
    # Lightning's settings are pickled; the file was written by this process a moment ago.
    content = torch.load(next(path.glob("*.ckpt")), weights_only=False)
    entry = "current_model_state" if choice == "trained" else "state_dict"
    state = {key.split("model.", 1)[1]: value for key, value in content[entry].items() if key.startswith("model.")}
    model.load_state_dict(state)
    return model.eval()


def imported(path: Path, given: Given, folder: Path) -> LoadedModel:
    """A checkpoint of Push-T after it went through our import and a folder of ours."""
    task = make_task("push_t_upstream", action_block=5)
    found = kinds.recognise(path, given)
    one = kinds.convert(found, task)
    card = {"dynamics": dict(task.dynamics), "sensors": dict(one.sensors), "goal_cost": "latent", "goal_costs": ["latent"]}
    checkpoints.write(folder, one.format, "imported", one.config, one.tensors, card)
    return checkpoints.load(str(folder))


def _problem() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of start and goal, proprioception of both, and actions in our units."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (2 * BATCH, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    proprioception = 100 * torch.randn(2 * BATCH, 4, generator=generator) + 200
    actions = torch.rand(BATCH, STEPS, 10, generator=generator) * 2 - 1
    return pixels, proprioception, actions


def _prepared(pixels: Tensor, arguments: argparse.Namespace) -> Tensor:
    """Pictures as their training and evaluation prepare them."""
    transform = script(arguments.swm, "lewm").get_img_preprocessor("pixels", "pixels", SIDE)
    return transform({"pixels": pixels.permute(0, 3, 1, 2)})["pixels"].float()


def _ours(loaded: LoadedModel, pixels: Tensor, proprioception: Tensor, actions: Tensor) -> dict[str, Tensor]:
    states = loaded.model.encode(PixelObservation(pixels, proprioception))
    start, goal = states[:BATCH], states[BATCH:]
    path = rollout(loaded.model, _one_frame(start, actions), actions)
    return {"encoder": states, "prediction": path, "cost": loaded.goal_cost(path[:, -1], goal)}


def _one_frame(start: Tensor, actions: Tensor) -> Context:
    return Context(start.unsqueeze(1), actions[:, :0])


def _standard(actions: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(each) for each in ACTION_STATISTICS["push_t"])
    return ((actions.unflatten(-1, (-1, 2)) - mean) / deviation).flatten(-2)


@torch.no_grad()
def _jepa(model: Any, path: Path, given: Given, arguments: argparse.Namespace) -> dict[str, float]:
    model = model.float().eval()
    pixels, proprioception, actions = _problem()
    with tempfile.TemporaryDirectory() as folder:
        ours = _ours(imported(path, given, Path(folder) / "m"), pixels, proprioception, actions)
    prepared = _prepared(pixels, arguments)
    states = model.encode({"pixels": prepared.unsqueeze(1)})["emb"][:, 0]
    info = {"pixels": prepared[:BATCH, None, None]}
    path_ = model.rollout(info, _standard(actions).unsqueeze(1))["predicted_emb"]
    cost = _goal_mse()({"predicted_emb": path_, "goal_emb": states[BATCH:, None]})[:, 0] / states.shape[-1]
    return _apart(ours, {"encoder": states, "prediction": path_[:, 0, 1:], "cost": cost})


def _goal_mse(**options: str) -> Any:
    from stable_worldmodel.planning import GoalMSE  # pyright: ignore[reportMissingImports]

    return GoalMSE(**options)


@torch.no_grad()
def _prejepa(model: Any, path: Path, order: tuple[str, ...], arguments: argparse.Namespace) -> dict[str, float]:
    model = model.float().eval()
    pixels, proprioception, actions = _problem()
    with tempfile.TemporaryDirectory() as folder:
        loaded = imported(path, Given(), Path(folder) / "m")
    assert isinstance(loaded.model, PatchModel)
    ours = _ours(loaded, pixels, proprioception[:, : loaded.model.config.proprioception], actions)
    prepared = _prepared(pixels, arguments)
    mean, deviation = (
        torch.tensor((236.6155, 264.5674, -2.93032027, 2.54307914)),
        torch.tensor((101.1202, 87.0112, 74.84556075, 74.14009094)),
    )
    body = (proprioception - mean) / deviation
    keys = [key for key in order if key != "action"]
    encoded = model.encode({"pixels": prepared[:, None], "proprio": body[:, None]}, emb_keys=keys)
    info = {"pixels": prepared[:BATCH, None, None], "proprio": body[:BATCH, None, None]}
    info |= {"id": torch.zeros(BATCH, 1), "step_idx": torch.zeros(BATCH, 1)}
    found = model.rollout(info, _standard(actions).unsqueeze(1))
    embeddings = ["pixels_emb", *(f"{key}_emb" for key in keys)]
    goals = {f"{name}_goal": encoded[name][BATCH:] for name in embeddings}
    cost = sum(
        _goal_mse(pred_key=f"predicted_{name}", goal_key="goal", reduction="mean")(
            {f"predicted_{name}": found[f"predicted_{name}"], "goal": goals[f"{name}_goal"]}
        )[:, 0]
        for name in embeddings
    )
    return _apart(
        ours,
        {"encoder": encoded["emb"][:, 0], "prediction": _without_actions(model, found, order), "cost": torch.as_tensor(cost)},
    )


def _without_actions(model: Any, found: Mapping[str, Tensor], order: tuple[str, ...]) -> Tensor:
    """Predicted tokens in our order: image, then proprioception."""
    tokens, widths = found["predicted_emb"][:, 0, 1:], [model.extra_encoders[key].emb_dim for key in order]
    first, *others = tokens.split([tokens.shape[-1] - sum(widths), *widths], -1)
    return torch.cat([first, *(part for key, part in zip(order, others, strict=True) if key != "action")], -1)


def _apart(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in theirs}


def _say(name: str, apart: Mapping[str, float]) -> None:
    worst = max(apart.values())
    parts = "  ".join(f"{key} {value:.1e}" for key, value in apart.items())
    sys.stdout.write(f"{'ok ' if worst <= 1e-5 else 'BAD'} {name:70s} {parts}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for option in ("swm", "dino", "jepa", "tdmpc2"):
        parser.add_argument(f"--{option}", type=Path)
    main(parser.parse_args())
