"""Sweeps from Python: labels, comparisons, refusals and interruption, with a world model that plans badly and at once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import grasp_orchestrator as grasp
from sweeps.api.arguments import override_words
from tests.support.small_sweeps import ROOT, ledger_rows, tiny_model, until

QUICK = ("tracking.enabled=false", "artifacts.cells=[]", "sweep=smoke", "horizons=[10]")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    """A sweep of two configs of one planner, planned while an event loop runs, as in a notebook."""
    output = tmp_path_factory.mktemp("out")
    iterations = [f"planners.{name}.settings.iterations=2" for name in ("gd", "gd_explore")]

    async def cell():
        planner = ["gd", "gd_explore"]
        return grasp.sweep(*QUICK, *iterations, planner=planner, world_models=[model], output=output, quiet=True)

    return asyncio.run(cell())


def test_frames_keep_two_configs_of_one_planner_apart(found, capsys):
    cells = found.cells()
    assert cells.groupby("planner")["seed"].apply(list).to_dict() == {"gd": [0, 1], "gd_explore": [0, 1]}
    assert set(cells["planner_name"]) == {"gd"}
    assert set(cells["unit"]) == {"px"}
    assert cells.attrs["units"]["plan_seconds"] == "s"
    assert cells["cell_id"].is_unique
    assert found.cells(lists=True)["actions"].map(len).tolist() == [20] * 4
    table = found.table()
    assert table["planner"].tolist() == ["gd", "gd_explore"]
    assert (table["success_low"] <= table["success_rate"]).all()
    assert capsys.readouterr().out == "", "quiet"


def test_comparisons_take_any_planner_as_the_reference(found):
    for reference, other in (("gd", "gd_explore"), ("gd_explore", "gd")):
        (row,) = found.compare(reference).to_dict("records")
        assert (row["planner"], row["reference"], row["pairs"]) == (other, reference, 2)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    with pytest.raises(grasp.UserError, match="did you mean 'gd_explore'"):
        found.compare("gd_explor")


def test_a_sweep_is_found_again_and_its_cells_are_planned_again(found):
    again = grasp.load_sweep("smoke", output=found.outputs.root)
    assert again.cells()["cell_id"].tolist() == found.cells()["cell_id"].tolist()
    assert again.rerun(again.cells().iloc[-1]).agrees
    with pytest.raises(grasp.UserError, match="did you mean 'smoke'"):
        grasp.load_sweep("smok", output=found.outputs.root)
    with pytest.raises(grasp.UserError, match="no cell 'zz'"):
        found.rerun("zz")


def test_keywords_are_read_as_words():
    words = override_words(("task=wall",), {"planner": "gd,cem", "seeds": range(2), "output": Path("a b"), "mode": None})
    assert words == ["task=wall", "planner=gd,cem", "seeds=[0,1]", "output='a b'"]
    assert override_words((), {"seeds": np.int64(4), "held_out": {"start": 2}}) == ["seeds=4", "held_out={start:2}"]


def test_bad_input_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(grasp.UserError, match="unknown task 'wal': did you mean 'wall'"):
        grasp.sweep(*QUICK, task="wal", output=tmp_path)
    with pytest.raises(grasp.UserError, match="seeds is given as a word and as a keyword: give it once"):
        grasp.sweep("seeds=2", seeds=3, output=tmp_path)
    with pytest.raises(grasp.UserError, match="seeds is a set: give a number"):
        grasp.sweep(seeds={1, 2}, output=tmp_path)
    with pytest.raises(grasp.UserError, match=r"grasp\.sweep plans one sweep, but h50 and h100 are 2"):
        grasp.sweep(sweep="h50,h100", output=tmp_path)
    with pytest.raises(grasp.UserError, match="make 2 cells"):
        grasp.plan(task="wall", horizons=[10], seeds=[1, 2])
    assert not list(tmp_path.iterdir())


def test_an_interrupted_sweep_keeps_its_cells_and_goes_on(model, tmp_path):
    code = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import grasp_orchestrator as grasp\n"
        "try:\n"
        f"    grasp.sweep(*{QUICK!r}, 'planners.gd.settings.iterations=3', 'max_rows=1', planner='gd', seeds=400,\n"
        f"                world_models=[{str(model)!r}], output={str(tmp_path / 'out')!r})\n"
        "except KeyboardInterrupt:\n"
        f"    print(len(grasp.load_sweep(output={str(tmp_path / 'out')!r}).cells()), 'cells are kept')\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)
    until(lambda: (tmp_path / "out" / "ledger").is_dir() and ledger_rows(tmp_path / "out") > 0, "the first cell")
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    kept = ledger_rows(tmp_path / "out")
    assert 0 < kept < 400
    assert f"{kept} cells are kept" in printed
    assert "go on with: grasp.sweep(" in printed
