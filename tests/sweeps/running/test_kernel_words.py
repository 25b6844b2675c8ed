"""The kernel in words: in a sweep's lines, its table, its status and its records, and what a missing compiler changes."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.driver.status import Status
from orchestrator.ledger.ledger import Ledger
from sweeps.config.outputs import outputs_of
from sweeps.models.train import models
from sweeps.running import sweep as running
from sweeps.running.status_view import status
from world_models.native import build
from world_models.native import mlp as native
from world_models.native.units import SWITCH, unit_named

NOTE = "precision: no kernel was available for wall, which torch computed in float32 although planners allow less."
MISSING = "there is no C compiler: install gcc or clang, or name one in CC."


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the kernel anew in this test."""
    chosen = cache(native.mlp_kernel.__wrapped__)
    for module in (native, running):
        monkeypatch.setattr(module, "mlp_kernel", chosen)


def planned(folder: Path) -> tuple[str, str, set[tuple[str, str]]]:
    """Plan a small sweep; what it printed, what `grasp status` prints, and kernels and precisions of its records."""
    words = ["name=few", "task=wall", "planner=[grasp]", "horizons=[25]", "seeds=2", "planners.grasp.settings.iterations=20"]
    words += ["backend=inline", "tracking.enabled=false", "artifacts.video=false", f"output={folder}"]
    outputs, printed, shown = outputs_of([f"output={folder}"]), io.StringIO(), io.StringIO()
    assert running.sweep(words, Console(file=printed, width=200)) == 0
    status("few", outputs, Console(file=shown, width=200))
    table = Ledger(outputs.ledger).table(columns=["kernel", "precision"])
    return printed.getvalue(), shown.getvalue(), {(row["kernel"], row["precision"]) for row in table.to_pylist()}


@pytest.mark.usefixtures("fresh")
def test_without_a_compiler_a_sweep_is_planned_by_torch_with_one_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(native, "usable_units", lambda: [unit_named("avx2")])
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    printed, shown, records = planned(tmp_path)
    assert printed.count(MISSING) == 1
    assert f"no kernel, so models are computed by torch in float32: {MISSING}" in printed
    assert " ".join(printed.split()).count(NOTE) == 1
    assert MISSING in shown
    assert records == {("torch", "float32")}


@pytest.mark.usefixtures("fresh")
def test_with_a_kernel_its_name_is_in_status_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "avx2")
    if isinstance(why := native.mlp_kernel(), str):
        pytest.skip(why)
    printed, shown, records = planned(tmp_path)
    assert "no kernel" not in printed
    assert "kernel: float32, AVX2" in shown
    assert records == {("c AVX2", "float32")}
    listed = io.StringIO()
    models(Console(file=listed, width=200), ["wall"])
    assert listed.getvalue().rstrip().endswith("kernel: float32, AVX2")
    found = Status.read(outputs_of([f"output={tmp_path}"]).sweep("few") / "status.json")
    assert found is not None
    assert found.kernel == "kernel: float32, AVX2"
