"""Samples of workers' usage: one file per sweep, and metrics for MLflow's page of system metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.evaluation.usage import Usage
from orchestrator.tracking.content.points import Metric
from world_models.files.reading import SpoiltFileError, parse_json, to_json

SHOWN = 400
"""Most samples of a worker for MLflow; longer series are thinned evenly."""


class UsageFile:
    """Samples of a sweep's workers, one per line. A failing disk costs samples and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, usage: Usage) -> None:
        """Append a sample."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(to_json(usage) + "\n")
        except OSError:
            return


def samples(file: Path) -> list[Usage]:
    """The samples in a file, in order; lines that are incomplete or of another format are skipped."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [usage for line in lines if (usage := _read(line)) is not None]


def system_metrics(found: Iterable[Usage]) -> Iterator[Metric]:
    """Metrics of each worker and each GPU for MLflow's page of system metrics, e.g. `system/worker_1/cpu_percent`."""
    series: dict[str, list[tuple[int, float]]] = {}
    for usage in found:
        for key, value in _values(usage).items():
            series.setdefault(key, []).append((usage.time, value))
    for key, values in series.items():
        stride = -(-len(values) // SHOWN)
        for step, (moment, value) in enumerate(values[::stride]):
            yield Metric(key, value, step * stride, moment)


def _values(usage: Usage) -> Mapping[str, float]:
    worker, gpu = (f"system/{_key(words)}" for words in (usage.worker, f"{usage.host} {usage.device}"))
    found = {f"{worker}/cpu_percent": usage.cpu_percent, f"{worker}/memory_mb": usage.memory_mb}
    if usage.gpu_memory_mb is not None:
        found[f"{worker}/gpu_memory_mb"] = usage.gpu_memory_mb
    if usage.gpu_percent is not None:
        found[f"{gpu}/percent"] = usage.gpu_percent
    return found


def _key(words: str) -> str:
    """The words in a form that MLflow accepts in a metric's name."""
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in words)


def _read(line: str) -> Usage | None:
    try:
        return parse_json(line, Usage, "a sample", "it is left out", "a line")
    except SpoiltFileError:
        return None
