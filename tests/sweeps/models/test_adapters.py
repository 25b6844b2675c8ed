"""Adapters of a user's own: the table of kinds is open, to files and to installed packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sweeps.cli.main import main
from tests.support.plugins import clean_plugins
from tests.world_models.adapters.foreign import tdmpc2_state
from world_models.adapters import kinds
from world_models.checkpoints import store as checkpoints
from world_models.errors import UnknownNameError, UserError
from world_models.plugins import PLUGINS, Kind

ADAPTER = '''
from safetensors.torch import load_file

from world_models import Found, Given, Imported


class Mine:
    """A file of another project, with encoder and dynamics of the kind that TD-MPC2 has."""

    def recognise(self, path, given=Given()):
        if path.suffix != ".safetensors" or "net.encoder.0.weight" not in load_file(path):
            return None
        return Found("mine", path, {"latent": 32}, action_size=2, observation_dim=2)

    def convert(self, found, task, encoder_path=None):
        tensors = {name.removeprefix("net."): value for name, value in load_file(found.path).items()}
        sizes = {"observation_dim": 2, "latent_dim": 32, "encoder_widths": [16], "dynamics_widths": [24, 24]}
        config = {**sizes, "action_dim": task.action_dim, "action_block": task.action_block}
        return Imported("grasp-orchestrator/tdmpc2/1", config, tensors)


class Greedy(Mine):
    """Claims every file."""

    def recognise(self, path, given=Given()):
        return Found("greedy", path, {}, action_size=2)


class Useless:
    """No adapter."""
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the file of an adapter and one that it reads."""
    (tmp_path / "plug_adapter.py").write_text(ADAPTER, encoding="utf-8")
    state = tdmpc2_state(2, 2, latent=32, hidden=24, encoder=16)
    names = {"_encoder.state.": "net.encoder.", "_dynamics.": "net.dynamics."}
    theirs = {own + key.removeprefix(name): value for name, own in names.items() for key, value in state.items() if name in key}
    save_file(theirs, tmp_path / "agent.safetensors")
    torch.save({"model": state}, tmp_path / "agent.pt")
    monkeypatch.chdir(tmp_path)
    with clean_plugins():
        yield tmp_path


def test_a_file_of_another_kind_is_imported_by_an_adapter_that_the_user_names(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "inspect", "agent.safetensors"]) == 2
    assert "is not a checkpoint of a known kind (dino-wm, jepa-wms, prejepa, tdmpc2, pldm, lewm)" in capsys.readouterr().err
    words = ["models", "import", "agent.safetensors", "--name", "mine", "--task", "wall", "--plugin", "./plug_adapter.py:Mine"]
    assert main(words) == 0
    assert "plug_adapter.py:Mine checkpoint" in capsys.readouterr().out
    assert main(["models", "import", "agent.pt", "--name", "ours", "--task", "wall"]) == 0
    loaded = [checkpoints.load(f"outputs/models/{name}") for name in ("mine", "ours")]
    assert loaded[0].card["imported"]["kind"] == "plug_adapter.py:Mine"  # pyright: ignore[reportIndexIssue]
    weights = [one.model.state_dict() for one in loaded]  # pyright: ignore[reportAttributeAccessIssue]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_the_suite_of_an_adapter_says_what_is_missing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["kind=adapter", "path=agent.safetensors"]
    assert main(["check", "./plug_adapter.py:Mine", *words, "task=wall"]) == 0
    assert "all 3 promises hold" in capsys.readouterr().out
    assert main(["check", "./plug_adapter.py:Greedy", *words]) == 1
    assert "claims a file that holds one unknown tensor" in capsys.readouterr().out
    assert main(["check", "./plug_adapter.py:Useless", *words]) == 2
    assert "Useless, which lacks convert, recognise" in capsys.readouterr().err
    assert main(["check", "./plug_adapter.py:Mine", "kind=adapter"]) == 2
    assert "reads a checkpoint of its kind: give one with path=PATH" in capsys.readouterr().err


def test_a_name_that_a_package_offers_is_a_kind_like_ours(home: Path) -> None:
    assert Kind.ADAPTER.group == "grasp_orchestrator.adapters"
    before = kinds.kinds()
    namespace: dict[str, Any] = {"__name__": "__main__"}  # as in a notebook
    exec(compile(ADAPTER, "mine", "exec"), namespace)
    PLUGINS.register(Kind.ADAPTER, "mine", namespace["Mine"])
    assert kinds.kinds() == ["mine", *before]
    found = kinds.recognise(home / "agent.safetensors")
    assert found.kind == "mine"
    assert kinds.recognise(home / "agent.pt").kind == "tdmpc2"
    with pytest.raises(UnknownNameError, match="mine"):
        kinds.adapter("mien")
    PLUGINS.register(Kind.ADAPTER, "odd", namespace["Useless"])
    with pytest.raises(UserError, match=r"adapter 'odd' of .* lacks convert, recognise"):
        kinds.recognise(home / "agent.pt")


def test_other_plug_ins_beside_the_command_are_not_taken_for_adapters(home: Path) -> None:
    for kind in Kind:
        PLUGINS.admit(kind, "./plug_adapter.py:Useless")
    assert kinds.recognise(home / "agent.pt").kind == "tdmpc2"


def test_our_kinds_are_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    assert "adapters of grasp-orchestrator: dino-wm, jepa-wms, lewm, pldm, prejepa, tdmpc2" in capsys.readouterr().out
