"""The table of docs/checkpoints.md is what the importers do with a file of each layout.

`python -m tests.world_models.adapters.test_kinds_table` writes it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.world_models.adapters.foreign import SMALL, lewm_state, save_whole_module, tdmpc2_state
from tests.world_models.adapters.layouts import recorded
from tests.world_models.adapters.published import (
    DinoWM,
    causal_vit_shapes,
    classes,
    dino_wm_file,
    dinov2_file,
    embedding_shapes,
    modulated_vit_shapes,
)
from world_models.adapters import kinds
from world_models.adapters.base import NOTHING, Given
from world_models.errors import UserError
from world_models.tasks import make_task

__all__ = ["classes"]

PAGE = Path(__file__).parents[3] / "docs" / "checkpoints.md"
BEGIN, END = "<!-- table of kinds: made by tests/world_models/adapters/test_kinds_table.py -->\n", "<!-- end of the table -->"

State = dict[str, Tensor]
Classes = Mapping[str, type[nn.Module]]


@dataclass(frozen=True)
class Row:
    """A layout, and how a file of it is made."""

    project: str
    layout: str
    save: Callable[[Path, Classes], Path]
    """Writes a file below a folder and returns the path that a user names."""
    given: Given = NOTHING
    task: str = "push_t_upstream"
    block: int = 5
    encoder: bool = False
    """Whether the import is given an encoder's weights."""


def lewm(name: str = "lewm-pusht/weights.pt", change: Callable[[State], object] = lambda state: state) -> Callable:
    """A LeWM's state dict under a path, changed."""
    return lambda folder, _: _saved(folder / name, change(lewm_state(SMALL)))


def _saved(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def _pickled(folder: Path, _: Classes) -> Path:
    (folder / "lewm-pusht").mkdir()
    save_whole_module(folder / "lewm-pusht" / "lewm_object.ckpt", lewm_state(SMALL))
    return folder / "lewm-pusht"


def _hub(folder: Path, _: Classes) -> Path:
    (folder / "lewm-pusht").mkdir()
    save_file(lewm_state(SMALL), folder / "lewm-pusht" / "model.safetensors")
    (folder / "lewm-pusht" / "config.json").write_text(json.dumps({"_target_": "stable_worldmodel.wm.lewm.LeWM"}))
    return folder / "lewm-pusht"


def _lightning(folder: Path, _: Classes) -> Path:
    state = {f"model._orig_mod.{name}": value for name, value in lewm_state(SMALL).items()}
    content = {"state_dict": {**state, "sigreg.t": torch.zeros(3)}, "optimizer_states": [{"state": {}}], "epoch": 3}
    return _saved(folder / "run.ckpt", {**content, "hyper_parameters": {"data": {"dataset": {"name": "pusht_expert_train"}}}})


def _averaged(state: State) -> object:
    return {"state_dict": state, "ema_state_dict": {f"module.{name}": value for name, value in state.items()}}


def _prejepa(folder: Path, without: str = "\0", **more: Tensor) -> Path:
    state = {name: value for name, value in recorded("prejepa").items() if not name.startswith(without)}
    _saved(folder / "pusht" / "weights.pt", {**state, **more})
    (folder / "pusht" / "config.json").write_text(json.dumps({"predictor": {"heads": 3, "dim_head": 16}}))
    return folder / "pusht"


def _dino_wm(folder: Path, classes: Classes) -> Path:
    path, _ = dino_wm_file(folder, classes, DinoWM(depth=1), "env: {name: pusht}\nframeskip: 5\n")
    (path.parent / "model_100.pth").write_bytes(path.read_bytes())
    return folder


def _jepa_wms(folder: Path, own: bool, width: int = 384, adaptive: bool = True) -> Path:
    embedding = 16 if own else 20
    shapes = modulated_vit_shapes(width, depth=1) if own else causal_vit_shapes(4 * 256, 384 + embedding + 10, depth=1)
    states = {"predictor": shapes, "proprio_encoder": embedding_shapes(4, embedding)}
    states |= {} if own else {"action_encoder": embedding_shapes(10, 10)}
    if not adaptive:
        states["predictor"] = {name: shape for name, shape in shapes.items() if "adaLN" not in name}
    content = {name: {f"module.{key}": torch.zeros(shape) for key, shape in each.items()} for name, each in states.items()}
    return _saved(folder / "model.pth.tar", {**content, "opt": {"state": {}}, "epoch": 50})


def _agent(folder: Path, tasks: int = 1, **more: Tensor) -> Path:
    state = tdmpc2_state(2, 2, latent=32, hidden=24, encoder=16) if tasks == 1 else tdmpc2_state(15, 11, 32, 24, 16)
    if tasks > 1:
        more |= {"_task_emb.weight": torch.zeros(tasks, 6), "_action_masks": torch.ones(tasks, 5)}
    return _saved(folder / "agent.pt", {"model": {**state, **more}})


def _named(folder: Path, *names: str) -> Path:
    return _saved(folder / "weights.pt", {name: torch.zeros(2, 2) for name in names})


AVERAGE, PUSH_T = Given(weights="averaged"), Given(environment="push_t")
DINOV2 = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
ROWS = (
    Row("LeWM", "`weights.pt`, of Push-T by its folder", lewm()),
    Row("LeWM", "`model.safetensors` and `config.json`", _hub),
    Row("LeWM", "pickled object", _pickled),
    Row("LeWM", "Lightning `.ckpt` of a compiled model, with optimiser, losses and settings", _lightning),
    Row("LeWM", "bfloat16", lewm(change=lambda state: {name: value.bfloat16() for name, value in state.items()})),
    Row("LeWM", "average beside the weights, `--weights averaged`", lewm(change=_averaged), AVERAGE),
    Row("LeWM", "nothing tells the environment", lewm("weights.pt")),
    Row("LeWM", "nothing tells it, `--trained-on push_t`", lewm("weights.pt"), PUSH_T),
    Row("LeWM", "of Reacher, for Push-T", lewm("lewm-reacher/weights.pt")),
    Row("PLDM", "`weights.pt` of a run called so", lewm("pldm-pusht/weights.pt")),
    Row("PreJEPA", "`weights.pt` and `config.json`, `dinowm`", lambda folder, _: _prejepa(folder)),
    Row("PreJEPA", "on another encoder", lambda folder, _: _prejepa(folder, "backbone.encoder.layer.0.layer_scale1")),
    Row(
        "PreJEPA",
        "with one more input",
        lambda folder, _: _prejepa(folder, **{"extra_encoders.goal.patch_embed.weight": torch.zeros(3, 4, 1)}),
    ),
    Row("DINO-WM", "folder of a run, `model_latest.pth` beside numbered ones", _dino_wm, encoder=True),
    Row("jepa-wms", "`.pth.tar`, its own predictor", lambda folder, _: _jepa_wms(folder, own=True), encoder=True),
    Row("jepa-wms", "`.pth.tar`, its DINO-WM baseline", lambda folder, _: _jepa_wms(folder, own=False), encoder=True),
    Row("jepa-wms", "on DINOv3 or V-JEPA 2", lambda folder, _: _jepa_wms(folder, own=True, width=1024)),
    Row("jepa-wms", "V-JEPA 2-AC", lambda folder, _: _jepa_wms(folder, own=True, adaptive=False)),
    Row("TD-MPC2", "agent of one task", lambda folder, _: _agent(folder), task="wall", block=1),
    Row("TD-MPC2", "agent of 30 or 80 tasks", lambda folder, _: _agent(folder, 30), task="wall", block=1),
    Row(
        "TD-MPC2",
        "the same, `--trained-on cup-catch`, for another task",
        lambda folder, _: _agent(folder, 30),
        Given(environment="cup-catch"),
        task="wall",
        block=1,
    ),
    Row(
        "TD-MPC2",
        "agent of pictures",
        lambda folder, _: _agent(folder, **{"_encoder.rgb.2.weight": torch.zeros(32, 9, 7, 7)}),
    ),
    Row(
        "stable-worldmodel",
        "its TD-MPC2",
        lambda folder, _: _named(folder, "dynamics.0.weight", "reward.0.weight", "qs.0.0.weight", "pi.0.weight"),
    ),
    Row(
        "stable-worldmodel",
        "GCBC, IQL, HILP",
        lambda folder, _: _named(folder, "log_stds", "action_predictor.pos_embedding"),
    ),
    Row("DINOv2", "encoder alone", lambda folder, _: _named(folder, *DINOV2)),
)
"""All rows in the order of the table."""


def outcome(row: Row, folder: Path, classes: Classes) -> str:
    """The end of an import, as the table says it."""
    (folder / "encoder").mkdir()
    weights = dinov2_file(folder / "encoder", depth=1)[0] if row.encoder else None
    path = row.save(folder, classes)
    try:
        found = kinds.recognise(path, row.given)
        kinds.convert(found, make_task(row.task, action_block=row.block), weights)
    except UserError as error:
        return f"refused: {re.sub(f'{re.escape(str(folder))}[^ :]*', 'it', str(error)).removeprefix('it ')}"
    return f"`{found.kind}`"


def table(folder: Path, classes: Classes) -> str:
    """The table in Markdown."""
    lines = ["| project | file | import |", "| --- | --- | --- |"]
    for number, row in enumerate(ROWS):
        (folder / str(number)).mkdir()
        lines.append(f"| {row.project} | {row.layout} | {outcome(row, folder / str(number), classes)} |")
    return "\n".join(lines) + "\n"


def test_the_page_says_what_imports_and_what_does_not(classes: Classes, tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    written = text.partition(BEGIN)[2].partition(END)[0]
    assert written == table(tmp_path, classes)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        made = table(Path(temporary), classes.__wrapped__(patch))  # pyright: ignore
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.partition(BEGIN)[0] + BEGIN + made + END + text.partition(END)[2], encoding="utf-8")
    sys.stdout.write(made)
