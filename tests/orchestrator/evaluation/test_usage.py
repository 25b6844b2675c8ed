"""Resource use of workers: sampling, the file, MLflow's metrics."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.core.portion import Portion
from orchestrator.evaluation import usage
from orchestrator.evaluation.results import BatchResult, ResourceUse
from orchestrator.evaluation.usage import Usage, UsageMeter
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.scheduler import Limits, Scheduler
from orchestrator.testing import plane_evaluator, plane_point
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.tracking.usage_file import SHOWN, UsageFile, samples, system_metrics
from orchestrator.workers.evaluator import Evaluator
from orchestrator.workers.ray_backend import RayBackend, RayConfig
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from tests.support.small_sweeps import tiny_model

SAMPLE = Usage(1_000, 150.0, 800.0, "node-a", "gpu 3", 2048.0, 70.0, "worker 1")


def test_a_busy_process_uses_a_core_and_an_idle_one_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "EVERY", 0.3)
    meter = UsageMeter("cpu")
    while (busy := meter.sample()) is None:
        sum(range(10_000))
    threading.Event().wait(0.35)
    idle = meter.sample()
    assert idle is not None
    assert busy.cpu_percent > 5 + idle.cpu_percent
    assert busy.memory_mb > 50
    assert (busy.device, busy.gpu_percent, busy.gpu_memory_mb) == ("cpu", None, None)


def test_a_meter_samples_now_and_then() -> None:
    meter = UsageMeter("cpu")
    assert [meter.sample() for _ in range(100)] == [None] * 100


def test_a_file_gives_back_what_it_got_and_leaves_out_what_is_cut_off(tmp_path: Path) -> None:
    file = UsageFile(tmp_path / "workers.jsonl")
    file.add(SAMPLE)
    file.add(replace(SAMPLE, worker="worker 2"))
    with file.path.open("a") as damaged:
        damaged.write('{"time": 3, "cpu_per\n{"time": 3}\n[]\n')
    assert samples(file.path) == [SAMPLE, replace(SAMPLE, worker="worker 2")]
    assert samples(tmp_path / "none") == []
    UsageFile(tmp_path / "no folder" / "workers.jsonl").add(SAMPLE)


def test_metrics_are_by_worker_and_by_gpu() -> None:
    shared = [SAMPLE, replace(SAMPLE, time=2_000, worker="worker 2"), replace(SAMPLE, time=3_000, cpu_percent=10.0)]
    found = {(metric.key, metric.step): (metric.value, metric.timestamp) for metric in system_metrics(shared)}
    assert found["system/worker_1/cpu_percent", 0] == (150.0, 1_000)
    assert found["system/worker_1/cpu_percent", 1] == (10.0, 3_000)
    assert found["system/worker_2/gpu_memory_mb", 0] == (2048.0, 2_000)
    assert [found["system/node-a_gpu_3/percent", step][1] for step in range(3)] == [1_000, 2_000, 3_000]


def test_many_samples_are_thinned() -> None:
    many = [replace(SAMPLE, time=n, gpu_percent=None, gpu_memory_mb=None) for n in range(10 * SHOWN + 1)]
    keys = [metric.key for metric in system_metrics(many)]
    assert SHOWN // 2 < keys.count("system/worker_1/memory_mb") <= SHOWN
    assert set(keys) == {"system/worker_1/memory_mb", "system/worker_1/cpu_percent"}


def test_a_results_worker_is_named() -> None:
    result = BatchResult((), ResourceUse(1.0, usage=replace(SAMPLE, worker="")))
    assert result.of("worker 7").resource_use == ResourceUse(1.0, usage=replace(SAMPLE, worker="worker 7"))
    assert BatchResult(()).of("worker 7") == BatchResult(())


def test_a_sweeps_run_has_its_workers_system_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "EVERY", 0.0)
    words = ["sweep=smoke", "backend=inline", "horizons=[10]", "planner=gd", "planners.gd.settings.iterations=3"]
    assert main(["sweep", *words, f"world_models={tiny_model(tmp_path / 'model')}", f"output={tmp_path}"]) == 0
    outputs = Outputs(tmp_path)
    (sweep,) = MlflowStore(TrackingStore(outputs.tracking_uri, outputs.tracking_artifacts)).runs("tags.`grasp.kind` = 'sweep'")
    logged = MlflowClient(outputs.tracking_uri).get_metric_history(sweep.run_id, "system/inline/memory_mb")
    taken = samples(outputs.usage("smoke"))
    assert taken
    assert [metric.value for metric in logged] == [usage.memory_mb for usage in taken]


def sampling_always(device: str) -> Evaluator:
    usage.EVERY = 0.0
    return plane_evaluator(device)


def test_ray_workers_are_distinguished() -> None:
    scheduler = Scheduler(DurationModel(), Limits(max_rows=1))
    scheduler.add([Portion.of(plane_point(horizon), range(20)) for horizon in (4, 8)])
    with RayBackend(RayConfig(num_workers=2), sampling_always) as backend:
        found = [result.resource_use.usage for result in backend.run(scheduler) if result.resource_use]
    named = [usage for usage in found if usage is not None]
    assert named
    assert {usage.worker for usage in named} <= {"worker 1", "worker 2"}
    assert all(usage.host and usage.memory_mb > 0 for usage in named)
