"""`grasp models inspect` and `import`: files are described, hostile ones refused in a sentence, imported models plan."""

import json
import os
import pickle
import shutil
import struct
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sweeps.cli.main import main
from tests.world_models.adapters.foreign import SMALL, lewm_state, tdmpc2_state
from tests.world_models.adapters.published import DinoWM, classes, dino_wm_file, dinov2_file, jepa_wms_file
from world_models.checkpoints import store as checkpoints
from world_models.tasks import make_task

__all__ = ["classes"]

SMALL_AGENT = {"latent": 32, "hidden": 24, "encoder": 16}

SHOOTING = "planners.random_shooting.settings"
FEW = ["planner=random_shooting", f"{SHOOTING}.iterations=2", f"{SHOOTING}.samples=4"]
"""Settings for the shortest planning."""


def refused(capsys, *words):
    """The one sentence that refuses a command."""
    assert main(["models", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("grasp: ")
    return lines[0]


@pytest.fixture
def agent(tmp_path):
    path = tmp_path / "agent.pt"
    torch.save({"model": tdmpc2_state(observation=2, action=2, **SMALL_AGENT)}, path)
    return path


@pytest.fixture
def lewm(tmp_path):
    path = tmp_path / "pusht" / "lewm.pt"
    path.parent.mkdir()
    torch.save(lewm_state(SMALL), path)
    return path


def test_inspect_says_what_it_is_and_what_it_fits(agent, capsys):
    assert main(["models", "inspect", str(agent)]) == 0
    shown = capsys.readouterr().out
    assert "tdmpc2" in shown
    assert "state observation  2" in shown
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert "yes" in rows["wall"]
    assert "action_block=1" in rows["wall"]
    assert "observations of 4 features, not 2" in rows["point_maze"]
    assert "observations of 10 features, not 2" in rows["push_t"]


def test_inspect_reads_folders_and_safetensors(tmp_path, capsys):
    folder = tmp_path / "published"
    folder.mkdir()
    save_file(lewm_state(SMALL), folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"encoder": {}, "predictor": {"heads": 4, "dim_head": 32}}), encoding="utf-8"
    )
    assert main(["models", "inspect", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "28 px in patches of 14" in shown
    assert "16 wide, 2 deep, 4 heads" in shown


def test_an_imported_model_is_listed_inspected_and_planned_with(agent, tmp_path, capsys):
    words = ["models", "import", str(agent), "--name", "mine", "--task", "wall", "speed=1.5", f"output={tmp_path}", "--readout"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    folder = tmp_path / "models" / "mine"
    assert str(folder) in shown.replace("\n", "")
    loaded = checkpoints.load(str(folder))
    assert loaded.card["dynamics"] == dict(make_task("wall", speed=1.5).dynamics)
    assert loaded.card["imported"]["kind"] == "tdmpc2"  # pyright: ignore[reportIndexIssue]
    assert loaded.decode is not None
    assert main(["models", str(folder)]) == 0
    assert main(["models", "inspect", str(folder)]) == 0
    assert "tdmpc2/1" in capsys.readouterr().out
    plan = [
        "plan",
        "task=wall",
        "tasks.wall.settings.speed=1.5",
        f"world_model={folder}",
        "horizon=10",
        "planner=random_shooting",
    ]
    few = ["planners.random_shooting.settings.iterations=2", "planners.random_shooting.settings.samples=8", "seed=10000"]
    assert main([*plan, *few, f"output={tmp_path}"]) == 0


def quick_plan(folder, tmp_path):
    """Exit code of a short plan from pictures with an imported model."""
    task = ["plan", "task=push_t", "tasks.push_t.settings.action_block=5", f"world_model={folder}", "horizon=25", "seed=10000"]
    return main([*task, *FEW, f"output={tmp_path}"])


def test_lewm_plans_from_pictures(lewm, tmp_path, capsys):
    assert main(["models", "import", str(lewm), "--name", "eyes", "--task", "push_t", f"output={tmp_path}"]) == 0
    assert "Mean and deviation of actions: of the published training data" in capsys.readouterr().out
    assert quick_plan(tmp_path / "models" / "eyes", tmp_path) == 0


def test_the_environment_is_asked_for_and_the_average_is_a_choice(tmp_path, capsys):
    state = lewm_state(SMALL)
    average = {f"ema.{key}": value + 1 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({**{f"model.{key}": value for key, value in state.items()}, **average}, tmp_path / "lewm.pt")
    words = ["import", str(tmp_path / "lewm.pt"), "--name", "a", "--task", "push_t", f"output={tmp_path}"]
    assert "give --trained-on, such as --trained-on push_t" in refused(capsys, *words)
    assert "was trained on reacher, not on push_t" in refused(capsys, *words, "--trained-on", "reacher")
    assert main(["models", "inspect", str(tmp_path / "lewm.pt")]) == 0
    assert "an import needs --trained-on" in " ".join(capsys.readouterr().out.split())
    assert main(["models", *words, "--trained-on", "push_t", "--weights", "averaged"]) == 0
    assert "Its averaged weights were taken" in capsys.readouterr().out
    key = "predictor.pos_embedding"
    torch.testing.assert_close(checkpoints.read_tensors(str(tmp_path / "models" / "a"))[key], state[key] + 1)
    assert checkpoints.load(str(tmp_path / "models" / "a")).card["imported"]["sizes"]["environment"] == "pusht"


def test_dino_wm_is_imported_with_its_encoder_and_plans(classes, tmp_path, capsys):
    sizes = DinoWM(visual=24, patches=4, frames=2, depth=1, heads=2, head_dim=8, hidden=32, embedding=5)
    path, _ = dino_wm_file(tmp_path, classes, sizes)
    encoder, _ = dinov2_file(tmp_path, width=24, depth=1, hidden=48, positions=10)
    assert main(["models", "inspect", str(path.parent)]) == 0
    shown = capsys.readouterr().out
    assert "dino-wm" in shown
    assert "dinov2_vits14 weights" in shown
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert "proprioception of 2 features, not 4" in rows["wall"]
    assert "action_block=5" in rows["push_t"]
    words = ["import", str(path), "--name", "patches", "--task", "push_t", f"output={tmp_path}"]
    assert "dinov2" in refused(capsys, *words)
    assert main(["models", *words, "--encoder", str(encoder)]) == 0
    assert quick_plan(tmp_path / "models" / "patches", tmp_path) == 0


def test_a_file_that_says_its_environment_fits_that_only(classes, tmp_path, capsys):
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=1), "env: {name: pusht}\nframeskip: 5\nimg_size: 224\n")
    assert main(["models", "inspect", str(path)]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "it was trained on pusht" in rows["point_maze"]
    assert "action_block=5" in rows["push_t"]


def test_jepa_wms_is_distinguished_from_the_others(tmp_path, capsys):
    path, _ = jepa_wms_file(tmp_path, own=True)
    assert main(["models", "inspect", str(path)]) == 0
    assert "jepa-wm" in capsys.readouterr().out
    assert "dinov2" in refused(capsys, "import", str(path), "--name", "x", "--task", "push_t", f"output={tmp_path}")


def test_a_readout_gives_the_state_from_the_latent(tmp_path):
    """A latent that holds the position linearly enough must give it back."""
    state = tdmpc2_state(observation=2, action=2, **SMALL_AGENT)
    state["_encoder.state.0.weight"] /= 30
    torch.save({"model": state}, tmp_path / "agent.pt")
    words = ["models", "import", str(tmp_path / "agent.pt"), "--name", "mine", "--task", "wall", f"output={tmp_path}"]
    assert main([*words, "--readout"]) == 0
    loaded = checkpoints.load(str(tmp_path / "models" / "mine"))
    task = make_task("wall")
    start = task.problem(10_000, 25).start[None]
    assert loaded.decode is not None
    read = loaded.decode(loaded.sensors.encode(loaded.model, task, start)).double().numpy()
    error = loaded.card["readout"]["error"]  # pyright: ignore[reportIndexIssue]
    assert max(error.values()) < 12
    assert task.distance(read, start)[0] < 24


def test_action_statistics_can_be_given(lewm, tmp_path, capsys, monkeypatch):
    words = ["models", "import", str(lewm), "--name", "mine", "--task", "push_t", f"output={tmp_path}"]
    assert "--action-std has 3 numbers" in refused(capsys, *words[1:], "--action-std=1,2,3")
    assert "is not positive" in refused(capsys, *words[1:], "--action-std=1,-2")
    assert main([*words, "--action-mean=-0.1,0.2", "--action-std", "0.5,0.25"]) == 0
    model = checkpoints.load(str(tmp_path / "models" / "mine")).model
    assert model.action_mean.tolist() == pytest.approx([-0.1, 0.2])  # pyright: ignore[reportAttributeAccessIssue]
    assert model.action_std.tolist() == pytest.approx([0.5, 0.25])  # pyright: ignore[reportAttributeAccessIssue]
    assert checkpoints.load(str(tmp_path / "models" / "mine")).card["dynamics"] == {"name": "push_t", "action_block": 5}


def test_commands_that_do_not_make_sense_are_refused(agent, tmp_path, capsys):
    output = f"output={tmp_path}"
    path = str(agent)
    assert "needs a name: give --name" in refused(capsys, "import", path, "--task", "wall")
    assert "is not a file name" in refused(capsys, "import", path, "--name", "../x", "--task", "wall")
    assert "give --task (wall or two_room or wall_dino)" in refused(capsys, "import", path, "--name", "x", output)
    assert "did you mean 'wall'" in refused(capsys, "import", path, "--name", "x", "--task", "wal", output)
    assert "set action_block" in refused(capsys, "import", path, "--name", "x", "--task", "wall", "action_block=2", output)
    assert "--action-std does not apply to this kind" in refused(
        capsys, "import", path, "--name", "x", "--task", "wall", "--action-std=1,1", output
    )
    assert "holds its encoder" in refused(capsys, "import", path, "--name", "x", "--task", "wall", "--encoder", path, output)
    assert "takes one checkpoint, not 0" in refused(capsys, "inspect")
    assert "options are for grasp models import" in refused(capsys, "inspect", path, "--name", "x")
    assert "does not exist" in refused(capsys, "inspect", str(tmp_path / "nothing.pt"))
    assert not (tmp_path / "models").exists()
    assert main(["models", "import", path, "--name", "x", "--task", "wall", output]) == 0
    capsys.readouterr()
    assert "exists: choose another --name" in refused(capsys, "import", path, "--name", "x", "--task", "wall", output)


def test_a_file_of_an_unknown_kind_is_described(tmp_path, capsys):
    torch.save({"backbone.weight": torch.zeros(2, 2), "epoch": 3}, tmp_path / "other.pt")
    sentence = refused(capsys, "inspect", str(tmp_path / "other.pt"))
    assert "not a checkpoint of a known kind" in sentence
    assert "'backbone.weight' (Tensor), 'epoch' (int)" in sentence
    blocks = {"cls_token": 0, "pos_embed": 0, "patch_embed.proj.weight": 0, "blocks.0.attn.qkv.weight": 0}
    torch.save({key: torch.zeros(1) for key in blocks}, tmp_path / "dinov2.pth")
    assert "DINOv2 encoder" in refused(capsys, "inspect", str(tmp_path / "dinov2.pth"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no file with weights" in refused(capsys, "inspect", str(empty))


class Hostile:
    """Runs a command when it is unpickled by code that executes pickles."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Stranger:
    """A class that no checkpoint of a known kind holds."""


def _lying_header(header):
    return struct.pack("<Q", len(header)) + header


HEADERS = {
    "beyond_the_end": b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}',
    "overflowing": b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}',
    "no_json": b'{"a":',
}


@pytest.fixture
def hostile(tmp_path, request):
    """A hostile file of a kind, and the canary that must not appear."""
    canary, kind = tmp_path / "canary", request.param
    command = f"touch {canary}"
    path = tmp_path / ("model.safetensors" if kind in HEADERS or kind == "huge_header" else "model.pt")
    if kind == "system_call":
        torch.save({"model": Hostile(command)}, path)
    elif kind == "plain_pickle":
        path.write_bytes(pickle.dumps(Hostile(command)))
    elif kind == "beside_real_weights":
        torch.save({"model": tdmpc2_state(2, 2, **SMALL_AGENT), "extra": Hostile(command)}, path)
    elif kind == "unknown_class":
        torch.save({"model": Stranger()}, path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        torch.save({"model": tdmpc2_state(2, 2, **SMALL_AGENT)}, path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "text":
        path.write_text("not a checkpoint", encoding="utf-8")
    elif kind == "huge_header":
        path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    elif kind == "zip_without_pickle":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b.txt", "hello")
    else:
        path.write_bytes(_lying_header(HEADERS[kind]))
    return path, canary


KINDS = ["system_call", "plain_pickle", "beside_real_weights", "unknown_class", "empty", "truncated", "text", "huge_header"]


@pytest.mark.parametrize("hostile", [*KINDS, "zip_without_pickle", *HEADERS], indirect=True)
@pytest.mark.parametrize("verb", ["inspect", "import"])
def test_hostile_files_are_refused_in_a_sentence_and_nothing_is_run(hostile, verb, tmp_path, capsys):
    path, canary = hostile
    options = ["--name", "x", "--task", "wall", f"output={tmp_path}"] if verb == "import" else []
    sentence = refused(capsys, verb, str(path), *options)
    assert str(path) in sentence
    assert not canary.exists()
    assert not (tmp_path / "models").exists()


def test_shapes_that_do_not_fit_are_refused(tmp_path, capsys):
    state = lewm_state(SMALL)
    state["pred_proj.net.3.bias"] = torch.zeros(25)
    torch.save(state, tmp_path / "lewm_pusht.pt")
    words = ["import", str(tmp_path / "lewm_pusht.pt"), "--name", "x", "--task", "push_t", f"output={tmp_path}"]
    assert "pred_proj.net.3.bias has shape [25], expected [24]" in refused(capsys, *words)
    assert not (tmp_path / "models").exists()


def test_a_hostile_card_is_refused(tmp_path, capsys):
    """A checkpoint folder that looks like ours."""
    (tmp_path / "model.safetensors").write_bytes(_lying_header(HEADERS["beyond_the_end"]))
    for text in ("[" * 100_000, "{", "[1]", '{"format": "someone-else/9"}', '{"format": "grasp-orchestrator/lewm/1"}'):
        (tmp_path / "card.json").write_text(text, encoding="utf-8")
        refused(capsys, "inspect", str(tmp_path))


def test_a_damaged_config_is_refused(tmp_path, capsys):
    torch.save(lewm_state(SMALL), tmp_path / "weights.pt")
    for text in ("[" * 100_000, "{", "[1]"):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        assert "config.json" in refused(capsys, "inspect", str(tmp_path / "weights.pt"))


@pytest.mark.parametrize(
    "errors",
    [
        1e308,
        "far",
        {"position_px": "far"},
        {"position_px": {"1": {}}},
        {"position_px": {"1": {"model": "1", "persistence": 2}}},
    ],
)
def test_errors_of_a_card_that_are_no_pairs_of_numbers_are_marked(errors, tmp_path, capsys):
    zoo = Path(str(files("world_models") / "zoo" / "wall"))
    shutil.copytree(zoo, tmp_path / "wall")
    card = json.loads((tmp_path / "wall/card.json").read_text())
    changed = {**card, "open_loop_error": errors, "goal_cost_rank_correlation": {"state": 1}}
    (tmp_path / "wall/card.json").write_text(json.dumps(changed))
    assert main(["models", str(tmp_path / "wall")]) == 0
    out = capsys.readouterr().out
    assert ("?: the card of" in " ".join(out.split())) == isinstance(errors, dict)
