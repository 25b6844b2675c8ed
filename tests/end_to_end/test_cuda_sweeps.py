"""On a GPU, batches are planned by workers that share it, whatever runs out or breaks. Skipped as `test_cuda.py` is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from orchestrator.artifacts.drawing import Drawing, RenderJob
from orchestrator.artifacts.selection import NO_ARTIFACTS
from orchestrator.core.batch import Batch
from orchestrator.core.portion import Portion
from orchestrator.driver.run_cells import RunSummary, run_cells
from orchestrator.evaluation import usage
from orchestrator.evaluation.usage import UsageMeter
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult
from orchestrator.scheduling.memory_limits import MemoryLimits
from orchestrator.scheduling.scheduler import Limits
from orchestrator.workers.backend import Backend, InlineBackend
from orchestrator.workers.devices import MemoryMeter, device_memory, is_broken
from orchestrator.workers.evaluator import Evaluator
from tests.end_to_end.gpu_workers import BREAKS_ONCE, HUNGRY, Troubled, zoo_point
from tests.support.small_sweeps import GRID, ROOT, grasp_command
from world_models.errors import UserError

DEVICE = os.environ.get("GRASP_TEST_DEVICE", "cuda")
GPU = DEVICE.startswith("cuda")
if GPU and not torch.cuda.is_available():
    pytest.skip("no CUDA device here: run this file on a machine with an NVIDIA GPU.", allow_module_level=True)

ray_backend = pytest.importorskip("orchestrator.workers.ray_backend", reason="Ray is not installed: pip install 'ray[default]'")
# Libraries give other warnings on a GPU than where CI runs: these are shown but are not failures.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(90)]
needs_gpu = pytest.mark.skipif(not GPU, reason="there is nothing to see on a CPU")

NAME = f"cuda: {torch.cuda.get_device_name()}" if GPU else "cpu: "
QUICK = {"iterations": 40, "sync_every": 20, "sync_steps": 10, "final_sync_steps": 10, "sync_lr": 0.1}
WALL = zoo_point("wall", "grasp", QUICK)
SEEDS = tuple(range(24))


def rate(records: list[CellResult]) -> float:
    return sum(record.success for record in records) / len(records)


@pytest.fixture(scope="module")
def on_cpu() -> list[CellResult]:
    return list(Evaluator("cpu").evaluate(Batch.of(WALL, SEEDS)).results)


def test_records_name_the_gpu_and_succeed_as_on_a_cpu(on_cpu: list[CellResult]) -> None:
    result = Evaluator(DEVICE).evaluate(Batch.of(WALL, SEEDS))
    assert all(record.device.startswith(NAME) and record.error is None for record in result.results)
    assert rate(on_cpu) > 0.7
    assert abs(rate(list(result.results)) - rate(on_cpu)) <= 4 / len(SEEDS)
    assert result.resource_use is not None
    assert result.resource_use.peak_bytes is not None
    assert 2**16 < result.resource_use.peak_bytes < 2**33


@pytest.mark.parametrize("model", ["wall", "wall_pixels"])
def test_replanned_cells_are_planned_and_drawn(model: str) -> None:
    evaluator = Evaluator(DEVICE)
    point = zoo_point(model, "gd", {"iterations": 5}, mode="mpc:5")
    records = evaluator.evaluate(Batch.of(point, (0, 1, 2))).results
    assert all(record.error is None and record.model_distance is not None for record in records)
    drawn = evaluator.draw(Drawing(point, (), (RenderJob(records[0].seed, records[0].actions),), video=False, frames=3))
    assert drawn.troubles == ()
    assert {artifact.kind for artifact in drawn.artifacts} == {"gif", "parquet", "png"}


@needs_gpu
def test_memory_and_use_of_the_gpu_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    held = torch.empty(2**26, dtype=torch.uint8, device=DEVICE)
    for device in (DEVICE, f"{DEVICE}:0"):
        answer, peak = MemoryMeter(device).peak_of(lambda: torch.empty(2**25, dtype=torch.uint8, device=DEVICE).numel())
        assert answer == peak == 2**25
    whole = torch.cuda.mem_get_info()[1]
    assert device_memory(DEVICE, 0.5) == whole // 2
    assert device_memory(DEVICE, 2.0) == whole
    monkeypatch.setattr(usage, "EVERY", 0.0)
    sample = UsageMeter(DEVICE).sample()
    assert sample is not None
    assert sample.device.startswith("gpu ")
    assert sample.gpu_memory_mb is not None
    assert held.numel() / 2**20 <= sample.gpu_memory_mb < whole / 2**20
    assert sample.gpu_percent is None or 0 <= sample.gpu_percent <= 100
    assert not is_broken(DEVICE)


def swept(
    folder: Path, backend: Backend, *work: Portion, memory_limits: MemoryLimits | None = None
) -> tuple[RunSummary, list[dict]]:
    """Plan cells; return the summary and the rows of the ledger."""
    ledger = Ledger(folder / "ledger")
    summary = run_cells(work, ledger, backend, Limits(64), memory_limits=memory_limits, selection=NO_ARTIFACTS)
    return summary, ledger.table().to_pylist()


@needs_gpu
def test_planning_that_runs_out_of_memory_is_done_in_smaller_batches(tmp_path: Path) -> None:
    """With room for twice what eight rows take."""
    point = zoo_point("wall", "cem", {"iterations": 3, "samples": 1000, "elites": 20})
    evaluator = Evaluator(DEVICE)
    evaluator.evaluate(Batch.of(point, (0,)))  # from now on libraries have allocated what they need once
    first = evaluator.evaluate(Batch.of(point, tuple(range(8))))
    assert first.resource_use is not None
    assert first.resource_use.peak_bytes is not None
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 2 * first.resource_use.peak_bytes
    memory_limits = MemoryLimits()
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info()[1])
    try:
        summary, rows = swept(tmp_path, InlineBackend(DEVICE), Portion.of(point, range(100)), memory_limits=memory_limits)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (summary.computed, summary.failed) == (100, 0)
    assert summary.retries >= 2
    assert {row["device"] for row in rows} == {NAME}
    assert max(row["batch_size"] for row in rows) <= (memory_limits.limit(point, DEVICE, None) or 0) < 32
    assert evaluator.evaluate(Batch.of(point, (1,))).results[0].error is None, "the process is none the worse"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Two workers on one GPU."""
    make = Troubled(str(tmp_path_factory.mktemp("pool") / "broken"))
    config = ray_backend.RayConfig(num_workers=2, cpus_per_worker=1, gpus_per_worker=0.5 if GPU else 0)
    with ray_backend.RayBackend(config, make) as backend:
        backend.start()
        yield backend


def await_both(pool: Backend, folder: Path) -> None:
    """Plan until both workers are up."""
    for number in range(60):
        if len(pool.workers()) == 2:
            return
        swept(folder / str(number), pool, Portion.of(zoo_point("wall", "gd", {"iterations": 1}), range(8)))
    raise AssertionError("a worker does not come up")


def test_two_workers_on_one_gpu_plan_as_one_on_a_cpu_does(pool: Backend, tmp_path: Path, on_cpu: list[CellResult]) -> None:
    await_both(pool, tmp_path)
    before = [view.cells for view in pool.workers()]
    points = [WALL, *(zoo_point("wall", "gd", {"iterations": 3 + more}) for more in range(4))]
    summary, rows = swept(tmp_path, pool, *(Portion.of(point, SEEDS) for point in points))
    assert (summary.computed, summary.failed) == (len(points) * len(SEEDS), 0)
    assert all(view.cells > cells and view.device == DEVICE for view, cells in zip(pool.workers(), before, strict=True))
    assert all(row["device"].startswith(NAME) for row in rows)
    mine = [row["success"] for row in rows if row["planner"] == "grasp"]
    assert abs(sum(mine) / len(mine) - rate(on_cpu)) <= 4 / len(SEEDS)


def test_a_batch_too_large_for_a_workers_share_is_cut(pool: Backend, tmp_path: Path) -> None:
    """Three rows fit into half of the GPU's memory, and no worker takes the other's half."""
    await_both(pool, tmp_path)
    point = zoo_point("wall", "gd", {"iterations": 2})
    summary, rows = swept(tmp_path, pool, Portion.of(point, HUNGRY[:16]))
    assert (summary.computed, summary.failed) == (16, 0)
    assert summary.retries >= 2
    assert max(row["batch_size"] for row in rows) <= 3


@needs_gpu
def test_a_worker_that_has_lost_its_gpu_is_replaced(pool: Backend, tmp_path: Path) -> None:
    await_both(pool, tmp_path)
    work = Portion.of(zoo_point("wall", "gd", {"iterations": 2}), [*range(12), BREAKS_ONCE])
    summary, rows = swept(tmp_path, pool, work)
    assert (summary.computed, summary.failed) == (13, 0)
    assert summary.retries >= 1
    assert next(row for row in rows if row["seed"] == BREAKS_ONCE)["attempts"] > 1
    await_both(pool, tmp_path / "again")
    assert sum(view.deaths for view in pool.workers()) >= 1


@needs_gpu
def test_a_gpu_is_used_by_default(pool: Backend) -> None:
    nodes = ray_backend.living_nodes()
    assert nodes[0].gpus == torch.cuda.device_count()
    assert ray_backend.need_of(ray_backend.RayConfig(), nodes).device == "cuda"
    assert ray_backend.need_of(ray_backend.RayConfig(gpus_per_worker=0), nodes).device == "cpu"


def test_more_gpus_than_there_are_are_refused_in_one_sentence() -> None:
    there = torch.cuda.device_count()
    sentence = f"1 worker asks for 64 GPUs but there are {there}: ask for fewer or smaller ones."
    with pytest.raises(UserError) as refused:
        ray_backend.RayBackend(ray_backend.RayConfig(num_workers=1, gpus_per_worker=64)).capacity()
    assert str(refused.value) == sentence


run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, timeout=80, check=False)


def grasp(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return run(grasp_command(*words), env=environment)


def test_the_command_line_sweeps_on_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("hydra", reason="Hydra is not installed: pip install hydra-core")
    share = f"backend.gpus_per_worker={1 if GPU else 0}"
    words = (*GRID, "backend=ray", "backend.num_workers=1", share, "tracking.enabled=false", f"output={tmp_path}")
    done = grasp("sweep", *words, "artifacts.cells=[best]", "artifacts.video=false")
    assert done.returncode == 0, done.stderr
    rows = Ledger(tmp_path / "ledger").table().to_pylist()
    assert len(rows) == 4
    assert all(row["error"] is None and row["device"].startswith(NAME) for row in rows)
    assert len(list((tmp_path / "artifacts").rglob("*.gif"))) == 2
    refused = grasp("sweep", *words, "horizons=[15]", "backend.gpus_per_worker=64")
    assert refused.returncode == 2
    assert f"1 worker asks for 64 GPUs but there are {torch.cuda.device_count()}: ask for fewer" in refused.stderr


@needs_gpu
def test_a_process_that_has_lost_its_gpu_says_so_and_keeps_what_is_finished(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from orchestrator.workers.backend import InlineBackend
from orchestrator.core.portion import Portion
from tests.end_to_end.gpu_workers import BREAKS_ONCE, Troubled, zoo_point
from tests.end_to_end.test_cuda_sweeps import swept
folder = Path({str(tmp_path)!r})
work = [Portion.of(zoo_point("wall", "gd", {{"iterations": n}}), seeds) for n, seeds in ((9, range(4)), (2, [BREAKS_ONCE, 1]))]
swept(folder, InlineBackend({DEVICE!r}, Troubled(str(folder / "broken"))), *work)
"""
    first = run([sys.executable, "-c", program])
    assert "UserError: the GPU can no longer be used by this process (" in first.stderr
    assert Ledger(tmp_path / "ledger").table().num_rows == 4
    second = run([sys.executable, "-c", program])
    assert second.returncode == 0, second.stderr
    assert Ledger(tmp_path / "ledger").table().num_rows == 6
