"""`grasp quality`: tune every planner alike, test on fresh problems, and write the page from the results."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.core.messages import mask_words
from orchestrator.storage.base import StorageError
from orchestrator.storage.opening import open_storage
from sweeps.config.grid import Grid
from sweeps.config.schema.sections import RayBackendConfig
from sweeps.console.display import View
from sweeps.console.signals import INTERRUPTED
from sweeps.console.terminal import say
from sweeps.quality import page as quality_page
from sweeps.quality import results as results_file
from sweeps.quality.dry_run import print_estimates
from sweeps.quality.results import Results, collect
from sweeps.quality.spec import QualitySpec, read_quality
from sweeps.quality.stages import Stages, StoppedError
from sweeps.quality.tables import measured_points, shown_failures
from world_models.errors import require


@dataclass(frozen=True)
class QualityOptions:
    """Options of `grasp quality`."""

    dry_run: bool = False
    source: Path | None = None
    """A results file from which page and figures are made, without planning."""
    view: View = View.LIVE


def quality(overrides: Sequence[str], console: Console, conf: Path | None = None, options: QualityOptions | None = None) -> int:
    """Run what the study still lacks and write its page; the exit code. UserError for bad input."""
    options = options or QualityOptions()
    spec = read_quality(list(overrides), conf)
    if options.source is not None:
        require(
            not options.dry_run, "--from and --dry-run cannot be combined, because --from plans nothing: leave one of them out."
        )
        say(console, f"the page is {quality_page.build(results_file.read(options.source), spec.page_folder)}")
        return 0
    stages = Stages(spec, conf, console, options.view)
    generated = stages.folder.resolve()
    require(
        conf is None or generated not in (conf.resolve(), *conf.resolve().parents),
        f"--conf {conf} is the folder to which grasp quality writes its own configs: give another folder.",
    )
    print_estimates(stages, console)
    if options.dry_run:
        return 0
    spec.outputs.prepare()
    spec.folder.mkdir(parents=True, exist_ok=True)
    try:
        with _cluster(spec):
            grids = stages.run()
    except StoppedError:
        own = [] if conf is None else ["--conf", str(conf)]
        again = mask_words(["grasp", "quality", *own, *overrides])
        say(console, f"stopped; everything finished is kept. Go on with: {again}")
        return INTERRUPTED
    results = collect(stages, grids)
    _copy_animations(spec, results, [grid for _, grid in grids])
    say(console, f"the page is {quality_page.build(results, spec.page_folder)}")
    return 0


def _cluster(spec: QualitySpec) -> ExitStack:
    """One Ray for all stages, if Ray plans on this machine: starting it for each stage would add minutes."""
    held = ExitStack()
    backend = spec.config.backend
    if isinstance(backend, RayBackendConfig) and backend.address is None:
        from orchestrator.workers.ray_cluster import connect, disconnect

        connect(None)
        held.callback(disconnect)
    return held


def _copy_animations(spec: QualitySpec, results: Results, grids: Sequence[Grid]) -> None:
    """Copy the animations of the failures shown to the page's folder, named by cell id, and remove those of other results."""
    points = {
        entry.point.cell(seed).cell_id: (entry.point.point_id, seed)
        for grid in grids
        for entry in grid.entries
        for seed in grid.seeds
    }
    assets = spec.page_folder / quality_page.ASSETS
    assets.mkdir(parents=True, exist_ok=True)
    artifact_store = ArtifactStore(open_storage(spec.outputs.artifacts))
    wanted = {one.ids[at] for one, at in shown_failures(measured_points(results), results.facts)}
    for old in assets.glob("*.gif"):
        if old.stem not in wanted:
            old.unlink()
    for cell in sorted(wanted):
        point, seed = points[cell]
        with suppress(StorageError):
            (assets / f"{cell}.gif").write_bytes(artifact_store.read(point, f"{seed}.gif"))
