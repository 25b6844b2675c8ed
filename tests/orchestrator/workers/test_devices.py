"""How workers handle errors of a GPU, tested on a CPU: the errors themselves are raised in test_cuda_sweeps.py."""

import pytest
import torch

from orchestrator.core.batch import Batch
from orchestrator.core.portion import Portion
from orchestrator.evaluation.results import BatchFailure
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.scheduler import Scheduler
from orchestrator.testing import plane_evaluator, plane_point
from orchestrator.workers import devices as gpu
from orchestrator.workers.backend import InlineBackend, attempt
from orchestrator.workers.evaluator import BatchResult, Evaluator
from world_models.errors import UserError


class Raising:
    """An evaluator that raises for every batch."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def evaluate(self, batch: Batch) -> BatchResult:
        raise self._error

    draw = plane_evaluator().draw


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_out_of_memory_errors_are_known_by_class_or_text(error: Exception, memory: bool) -> None:
    answer = attempt(Raising(error), Batch.of(plane_point(), (0, 1)))
    assert isinstance(answer, BatchFailure)
    assert answer.out_of_memory == memory


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("warp", "device 'warp' is unknown: give cpu, cuda or cuda:N."),
        ("meta", "device 'meta' is not supported: give cpu, cuda or cuda:N."),
        ("cuda:99", "device 'cuda:99' does not exist (there are 2 GPUs): give one that does, or cpu."),
    ],
)
def test_a_device_that_is_not_here_is_refused_in_one_sentence(
    device: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for make in (gpu.check_device, InlineBackend, Evaluator):
        with pytest.raises(UserError) as refused:
            make(device)
        assert str(refused.value) == sentence
    for there in ("cpu", "cuda", "cuda:1"):
        gpu.check_device(there)


def test_a_torch_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match=r"'cuda' does not exist .this torch is built without CUDA.: give one"):
        gpu.check_device("cuda")


def test_a_share_bounds_the_memory_of_workers_that_have_a_gpu_together(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", bounds.append)
    for device, share in (("cuda", 0.5), ("cuda", 1.0), ("cuda", 2.0), ("cpu", 0.0), ("cuda:0", 1 / 3)):
        gpu.keep_to_share(device, share)
    assert bounds == [0.5, 1 / 3]


def test_a_gpu_that_cannot_synchronise_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gpu.is_broken("cpu")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert not gpu.is_broken("cuda")

    def fails(device: str) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    assert gpu.is_broken("cuda")


def test_a_process_that_has_lost_its_gpu_records_nothing_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.workers.backend.is_broken", lambda device: True)
    scheduler = Scheduler(DurationModel())
    scheduler.add([Portion.of(plane_point(), range(3))])
    backend = InlineBackend(make_evaluator=lambda device: Raising(RuntimeError("unspecified launch failure")))
    with pytest.raises(UserError, match=r"GPU can no longer be used .*launch failure.*everything finished is kept"):
        list(backend.run(scheduler))
