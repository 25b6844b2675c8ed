"""Checks after the rehearsal's sweep: each yields sentences that say what is wrong, and none when it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

TOLERANCE = 1e-3
"""Largest difference between the distances of two runs of a cell, in the task's unit."""
LEFT_OUT = (".git", ".venv", "venv", "outputs", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")
"""Names that no submission may upload."""

Row = Mapping[str, Any]
"""A record of the ledger."""


def records(output: Path) -> list[Row]:
    """All records in the files of a ledger that is no longer written, without deduplication."""
    files = [str(file) for file in sorted((output / "ledger").rglob("*.parquet")) if not file.name.startswith(".")]
    columns = ["cell_id", "point_id", "seed", "status", "success", "distance", "git_revision", "finished_at"]
    return ds.dataset(files, format="parquet").to_table(columns=columns).to_pylist() if files else []


def each_cell_once(found: list[Row], expected: list[Row]) -> Iterator[str]:
    """Check that the cells are those of the undisturbed run, each recorded once."""
    times, wanted = Counter(row["cell_id"] for row in found), {row["cell_id"] for row in expected}
    lost, strange = wanted - times.keys(), times.keys() - wanted
    twice = [cell for cell, count in times.items() if count > 1]
    if lost:
        yield f"{len(lost)} of {len(wanted)} cells are lost"
    if twice:
        yield f"{len(twice)} cells are recorded more than once"
    if strange:
        yield f"{len(strange)} cells are recorded that are not part of the sweep"


def same_results(found: list[Row], expected: list[Row]) -> Iterator[str]:
    """Check that status and success equal the undisturbed run's, and distances up to rounding."""
    before = {row["cell_id"]: row for row in expected}
    for row in found:
        other = before.get(row["cell_id"])
        if other is None:
            continue
        same = (row["status"], row["success"]) == (other["status"], other["success"])
        if not same or abs((row["distance"] or 0.0) - (other["distance"] or 0.0)) > TOLERANCE:
            was, now = ((r["status"], r["success"], r["distance"]) for r in (other, row))
            yield f"cell {row['cell_id']} ended with {now}, in the undisturbed run with {was}"


def of_one_commit(found: list[Row], revision: str) -> Iterator[str]:
    """Check that every record names the commit that was submitted."""
    for said in {row["git_revision"] for row in found} - {revision}:
        yield f"records name commit {said!r}, but {revision!r} was submitted"


def tracked(uri: str, sweep: str, found: list[Row]) -> Iterator[str]:
    """Check that MLflow has the sweep's run once, each point once below it, and the success of every seed once in each."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for page in experiments for run in client.search_runs([page], max_results=1000)]
    parents = [run for run in runs if run.data.tags.get("grasp.sweep") == sweep and run.data.tags.get("grasp.kind") == "sweep"]
    if len(parents) != 1:
        yield f"MLflow has {len(parents)} runs of sweep {sweep!r}, not one"
        return
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    points = Counter(run.data.tags.get("grasp.point_id") for run in below)
    wanted = {row["point_id"] for row in found}
    if points != Counter(wanted):
        yield f"MLflow has {points.total()} runs of {len(points)} points, the ledger {len(wanted)} points"
    for run in below:
        rows = {row["seed"]: row["success"] for row in found if row["point_id"] == run.data.tags.get("grasp.point_id")}
        logged = [(metric.step, bool(metric.value)) for metric in client.get_metric_history(run.info.run_id, "seed/success")]
        if sorted(logged) != sorted(rows.items()):
            yield f"run {run.info.run_name!r} has {len(logged)} successes logged, the ledger {len(rows)} or others"


@dataclass(frozen=True)
class Upload:
    """The files that a submission uploaded to the head."""

    files: int
    megabytes: float
    problems: tuple[str, ...]


def uploaded(head: Path) -> Upload:
    """The code that the head unpacked; `head` is its temporary folder."""
    packages = [path for path in head.glob("session_latest/runtime_resources/working_dir_files/_ray_pkg_*") if path.is_dir()]
    if len(packages) != 1:
        return Upload(0, 0.0, (f"the head has unpacked {len(packages)} submissions, not one",))
    # Bytecode is compiled there by the workers and was not uploaded.
    files = [p for p in packages[0].rglob("*") if p.is_file() and p.suffix != ".pyc"]
    bad = {part for p in files for part in p.relative_to(packages[0]).parts if part in LEFT_OUT}
    missing = [name for name in ("sweeps/cli/main.py", "world_models/zoo") if not (packages[0] / name).exists()]
    said = [*(f"a submission uploads {name}" for name in sorted(bad)), *(f"a submission lacks {name}" for name in missing)]
    return Upload(len(files), sum(p.stat().st_size for p in files) / 2**20, tuple(said))
