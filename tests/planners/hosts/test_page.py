"""The planner of docs/hosts.md plans as it stands there, with a stand-in of the host."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from planners.hosts.solvers import HostSolver
from planners.testing import WORLDS, problems_for
from tests.planners.hosts.stand_ins import CEM

PAGE = Path(__file__).parents[3] / "docs" / "hosts.md"


def test_the_pages_planner_plans_with_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = ModuleType("stable_worldmodel.planning")
    host.CEMSolver = CEM
    monkeypatch.setitem(sys.modules, "stable_worldmodel", ModuleType("stable_worldmodel"))
    monkeypatch.setitem(sys.modules, "stable_worldmodel.planning", host)
    names: dict[str, Any] = {"__name__": "their_cem"}
    (source,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "class" in block
    ]
    monkeypatch.setitem(sys.modules, "their_cem", ModuleType("their_cem"))
    exec(compile(source, str(PAGE), "exec"), names)
    planner = names["TheirCEM"](names["TheirCEMSettings"](samples=20, rounds=3, elites=5, spread=0.5))
    model = WORLDS["mlp"](torch.float64)
    problems = problems_for(model)
    found = planner.plan(model, problems, [1, 2, 3])

    def same(cost: Any, seed: int) -> CEM:
        return CEM(cost, num_samples=20, n_steps=3, topk=5, var_scale=0.5, seed=seed)

    expected: Tensor = HostSolver(same).plan(model, problems, [1, 2, 3]).actions
    assert torch.equal(found.actions, expected)
