"""`grasp reproduce` on files made here: a LeWM of random weights and rows of Push-T, in the layouts of their authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sweeps.cli.main import main
from tests.support.recorded_episodes import behaved, write_swm
from tests.world_models.adapters.foreign import SMALL, lewm_state, tdmpc2_state
from world_models.tasks import make_task
from world_models.tasks.push_t.resets import upstream_rows

SOLVER = ("planners.cem_swm.settings.iterations=1", "planners.cem_swm.settings.samples=8", "planners.cem_swm.settings.elites=3")
OWN = (
    *("planners.cem.settings.iterations=1", "planners.cem.settings.samples=8", "planners.cem.settings.elites=3"),
    *("planners.grasp.settings.iterations=2", "planners.grasp.settings.sync_every=0", "planners.grasp.settings.attempts=1"),
)
QUICK = (*SOLVER, *OWN, "protocols.lewm.draw.rows=3", "backend=inline", "tracking.enabled=false", "artifacts.cells=[]")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A checkpoint whose folder names its environment, and a dataset."""
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "lewm-pusht" / "weights.pt"
    checkpoint.parent.mkdir()
    torch.save(lewm_state(SMALL), checkpoint)
    states, actions = behaved(make_task("push_t_upstream", settling="swm"), 3, 40)
    data = write_swm(tmp_path / "pusht.h5", {"state": upstream_rows(states).astype(np.float32), "action": actions})
    return checkpoint.parent, data


def test_a_checkpoint_is_imported_planned_and_compared(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, data = files
    words = ["reproduce", "lewm", "--checkpoint", str(checkpoint), "--data", str(data), *QUICK, "seeds=2"]
    assert main([*words, "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "published: 0.96 [0.87, 0.99] of 50 by cem_swm" in said
    assert "4 points x 2 seeds from 0 = 8 cells" in said
    assert "time unknown" in said
    assert not Path("outputs/ledger").exists()
    assert main([*words, "noise_seeds=2", "--dry-run"]) == 0
    assert ", noise_seeds=2" in " ".join(capsys.readouterr().out.split()), "what changes all planners is said too"
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the checkpoint was imported before" in said
    assert "reproduce-lewm-push_t_upstream: published and own (not as published: planners.cem_swm.settings.iterations=1" in said
    (kept,) = Path("outputs/sweeps").glob("*/published.txt")
    lines = [line.split() for line in kept.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = {line[0]: line for line in lines if line[0] in ("cem_swm", "random_actions")}
    assert rows["cem_swm"][1:5] == ["0.96", "[0.87,", "0.99]", "50"]
    assert rows["random_actions"][1] == "0.02"
    assert main(words) == 0
    assert "nothing to plan" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence that refuses a command."""
    assert main(["reproduce", *words]) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.strip().splitlines()
    return line


def test_what_is_missing_is_said_before_anything_runs(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, data = files
    given = ("--checkpoint", str(checkpoint), "--data", str(data))
    assert "lacks a checkpoint: give one with --checkpoint PATH" in refused(capsys, "lewm")
    assert "lacks a protocol" in refused(capsys, *given)
    assert "takes one protocol, not 2" in refused(capsys, "lewm", "dino_wm", *given)
    assert "nowhere does not exist" in refused(capsys, "lewm", "--checkpoint", "nowhere")
    assert "unknown protocol with published figures 'levm': did you mean 'lewm'?" in refused(capsys, "levm", *given)
    assert "published figures of dino_wm are of dino-wm" in refused(capsys, "dino_wm", *given)
    assert "not of wall: give one" in refused(capsys, "lewm", *given, "--task", "wall")
    torch.save(lewm_state(SMALL), "weights.pt")
    unnamed = refused(capsys, "lewm", "--checkpoint", "weights.pt", "--data", str(data))
    assert "does not say which environment it is of: give --task push_t_upstream or --task two_room" in unnamed
    (checkpoint.parent / "reacher").mkdir()
    torch.save(lewm_state(SMALL), checkpoint.parent / "reacher" / "weights.pt")
    assert "was trained on reacher" in refused(capsys, "lewm", "--checkpoint", "reacher", "--data", str(data))
    torch.save({"model": tdmpc2_state(observation=2, action=2, latent=32, hidden=24, encoder=16)}, "agent.pt")
    assert "is a checkpoint of the kind tdmpc2" in refused(capsys, "lewm", "--checkpoint", "agent.pt", "--data", str(data))
    assert not Path("outputs").exists()
    assert "takes its problems from a recorded dataset: give problems.data=PATH" in refused(capsys, "lewm", *given[:2])
    assert "give problems.manifest=FILE.json" in refused(capsys, "clear_strict", *given)


def test_without_arguments_it_lists_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("lewm" in line and "0.96 of  50" in line for line in lines)
