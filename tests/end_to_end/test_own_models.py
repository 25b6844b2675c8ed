"""World models of a user's own in files: each keeps its promises, and a sweep refuses those that do not, in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeps.cli.main import main
from tests.support.own_models import FILES, WORDS, home, records

__all__ = ["home"]


@pytest.mark.parametrize("file", FILES)
def test_each_file_keeps_every_promise_in_under_sixty_lines(file: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"./{file}"]) == 0
    assert "all 15 promises hold" in capsys.readouterr().out
    lines = (home / file.partition(":")[0]).read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 60


MODEL = """
import torch

class Own(torch.nn.Module):
    state_shape, action_dim, history = (4,), 2, 1
    def __init__(self):
        super().__init__()
        self.push = torch.nn.Parameter({weights})
        {more}
    @property
    def device(self): return {device}
    @property
    def dtype(self): return self.push.dtype
    def encode(self, observation): return {encode}
    def step(self, states, actions): return {step}
"""
FINE = {
    "weights": "torch.ones(2)",
    "more": "",
    "device": "self.push.device",
    "encode": "observation",
    "step": "states[:, -1] + torch.cat([actions[:, -1], self.push * actions[:, -1]], 1)",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": "states[:, -1].double()"}, r"gives states \(2, 4\) on cpu in float64, not \(2, 4\) on cpu in float32"),
        ({"step": "states[:, -1, :3]"}, r"gives states \(2, 3\)"),
        ({"step": "None"}, "gives NoneType, not a tensor"),
        ({"step": "states @ actions"}, "cannot step from states"),
        ({"encode": "observation.double()"}, "Own encodes states"),
        ({"encode": "observation[:, :3]"}, "Own encodes states"),
        ({"device": "torch.device('cuda')"}, "says that it is on cuda in float32 after a move to cpu"),
        ({"more": "self.scale = torch.ones(3)"}, "keeps weights in scale, where they cannot be moved"),
        ({"weights": "torch.randn(2)"}, "has other weights each time it is made"),
    ],
)
def test_models_that_do_not_do_as_they_say_are_refused(
    change: dict[str, str], said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "own.py").write_text(MODEL.format(**{**FINE, **change}), encoding="utf-8")
    words = ["task=glider.tasks:Glide", "world_model=./own.py:Own", "planner=gd", "planner.iterations=2", "backend=inline"]
    code = main([*WORDS, *words])
    errors = [record["error"] for record in records()] if code != 2 else [capsys.readouterr().err]
    assert errors
    for error in errors:
        assert error is not None
        assert re.search(said, error), error
