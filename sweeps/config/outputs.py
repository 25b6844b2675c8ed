"""The output folder: where everything lies, and saved sweeps.

outputs/ledger/           every finished cell of every sweep (Parquet)
outputs/sweeps/NAME/      sweep.json, config.yaml, status.json, report.html, .txt, .csv, figures; environment/; history/;
                          workers.jsonl, what workers took of processors and GPUs
outputs/artifacts/POINT/  films, pictures and trajectories of a few cells a point; chosen.json says why
outputs/studies/          journal.log, what Optuna knows; NAME/ winner.json, report.txt and pictures of a study
outputs/quality/          configs that `grasp quality` generates, GRASP's seconds; page and figures unless page= names a folder
outputs/sizes.json        rows that fit into memory, measured
outputs/inbox/            sweeps that a running driver is asked to plan as well
outputs/plans/            pictures of `grasp plan`
outputs/diagnose/         figures and tables of `grasp diagnose`
outputs/mlflow.db, outputs/mlartifacts/, outputs/mlmarkers/
outputs/outbox/           what MLflow has not been told yet, a folder a destination

With `storage` given, ledger/ and artifacts/ lie there instead: a folder that several machines share, or an object store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.storage.base import below
from orchestrator.storage.opening import open_storage
from sweeps.config.axes import checked_mapping
from sweeps.config.compose import compose
from sweeps.config.grid import Grid
from world_models.errors import UnknownNameError, UserError, require


@dataclass(frozen=True)
class Outputs:
    """Paths below one root; nothing is created before `prepare`."""

    root: Path
    storage: Path | str | None = None
    """Folder or URI of ledger/ and artifacts/; None: the root."""

    @staticmethod
    def of(values: Mapping[str, object]) -> Outputs:
        """What a config's `output` and `storage` say; UserError for a storage that is none."""
        root, storage = Path(str(values["output"])), values.get("storage")
        return Outputs(root) if storage is None else Outputs(root, _located(str(storage)))

    @property
    def ledger(self) -> Path | str:
        """Folder or URI of the ledger."""
        return below(self.storage or self.root, "ledger")

    @property
    def artifacts(self) -> Path | str:
        """Pictures of cells, a folder a point."""
        return below(self.storage or self.root, "artifacts")

    @property
    def plans(self) -> Path:
        """Pictures of single plans."""
        return self.root / "plans"

    @property
    def models(self) -> Path:
        """Models trained by `grasp train`."""
        return self.root / "models"

    @property
    def data(self) -> Path:
        """Trajectories that models are trained on."""
        return self.root / "data"

    @property
    def memory_limits(self) -> Path:
        """How many rows of a kind of batch fit into memory."""
        return self.root / "sizes.json"

    @property
    def join_requests(self) -> Path:
        """Sweeps that a running driver is asked to plan as well."""
        return self.root / "inbox"

    @property
    def database(self) -> Path:
        """MLflow's SQLite file."""
        return self.root / "mlflow.db"

    @property
    def tracking_uri(self) -> str:
        """MLflow's store."""
        return f"sqlite:///{self.database.resolve()}"

    @property
    def tracking_artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.root.resolve() / "mlartifacts"

    @property
    def outbox(self) -> Path:
        """What the tracker has still to tell, a folder a destination."""
        return self.root / "outbox"

    @property
    def markers(self) -> Path:
        """What the tracker has written already."""
        return self.root / "mlmarkers"

    @property
    def studies(self) -> Path:
        """Studies' journal, and a folder for each."""
        return self.root / "studies"

    def study(self, name: str) -> Path:
        """Folder of a study's report and winner."""
        return self.studies / name

    def sweep(self, name: str) -> Path:
        """Folder of a sweep's spec and report."""
        return self.root / "sweeps" / name

    def prepare(self) -> None:
        """Create the folder; UserError when it cannot be written to."""
        probe = self.root / f".probe-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"cannot write to output folder {str(self.root)!r} ({error.strerror}): choose another with output=FOLDER."
            ) from error

    def save(self, grid: Grid, config_text: str) -> str | None:
        """Remember a sweep, so that it can be reported on.

        Another grid that was saved under its name goes to `history`; then one sentence on how they differ.
        """
        folder = self.sweep(grid.name)
        folder.mkdir(parents=True, exist_ok=True)
        difference = self.difference(grid)
        if difference is not None:
            history = folder / "history"
            history.mkdir(exist_ok=True)
            number = len(list(history.glob("*.json")))
            for name in ("sweep.json", "config.yaml"):
                if (folder / name).exists():
                    (folder / name).replace(history / f"{number}-{name}")
            difference = f"a sweep named {grid.name} was there with another grid ({difference}): its spec is in {history}"
        _replace(folder / "config.yaml", config_text)
        storage = None if self.storage is None else str(self.storage)
        _replace(folder / "sweep.json", json.dumps({**grid.as_json(), "storage": storage}))
        return difference

    def difference(self, grid: Grid) -> str | None:
        """How a grid differs from the one saved under its name, in words; None: not at all, or none was saved."""
        try:
            old = self.load(grid.name)
        except UserError:
            return None
        points = [{entry.point.point_id for entry in one.entries} for one in (grid, old)]
        seeds = [set(one.seeds) for one in (grid, old)]
        words = []
        for kind, (new, before) in (("points", points), ("seeds", seeds)):
            words += [f"{len(new - before)} {kind} more"] if new - before else []
            words += [f"{len(before - new)} {kind} fewer"] if before - new else []
        return ", ".join(words) or None

    def names(self) -> list[str]:
        """Saved sweeps, the latest first."""
        found = list(self.root.glob("sweeps/*/sweep.json"))
        return [file.parent.name for file in sorted(found, key=lambda file: -file.stat().st_mtime)]

    def load(self, name: str | None = None) -> Grid:
        """A saved sweep, without a name the latest; UserError with the nearest names otherwise."""
        names = self.names()
        require(
            bool(names), f"no sweep has been run in {str(self.root)!r} yet: run `grasp sweep`, or name the folder with output=."
        )
        if name is not None and name not in names:
            raise UnknownNameError("sweep", name, names)
        file = self.sweep(name or names[0]) / "sweep.json"
        try:
            return Grid.from_json(_saved(file))
        except (KeyError, TypeError) as error:
            raise _stale(file) from error

    def environment(self, name: str) -> Path:
        """Files on what a sweep ran in: the command, versions and hardware, changes of the checkout."""
        return self.sweep(name) / "environment"

    def usage(self, name: str) -> Path:
        """Samples of what a sweep's workers took of processors and GPUs."""
        return self.sweep(name) / "workers.jsonl"

    def of_sweep(self, name: str) -> Outputs:
        """These outputs with the storage that a saved sweep was run with, unless they name one themselves."""
        storage = _saved(self.sweep(name) / "sweep.json").get("storage")
        return self if self.storage is not None or storage is None else replace(self, storage=_located(str(storage)))


def outputs_of(words: Sequence[str]) -> Outputs:
    """The output folder that the `key=value` words among `words` name, else the default one."""
    return Outputs.of(compose("config", [word for word in words if "=" in word]).values)


def _located(storage: str) -> Path | str:
    """A storage as the config gives it: a URI as it is, a folder wherever this process is started; UserError for others."""
    open_storage(storage)
    return storage if "://" in storage else Path(storage).resolve()


def _saved(file: Path) -> dict[str, Any]:
    """A saved sweep's file; UserError when it is none."""
    try:
        raw = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise _stale(file) from error
    if not isinstance(raw, dict):
        raise _stale(file)
    return raw


def _stale(file: Path) -> UserError:
    return UserError(f"{str(file)!r} is no saved sweep of this version: run the sweep again to write it anew.")


def _replace(file: Path, text: str) -> None:
    """Write whole or not at all."""
    temporary = file.with_suffix(f".tmp{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(file)


def storage_of(raw: object, outputs: Outputs) -> str | Path:
    """Where studies are kept, as the config's `optuna` says."""
    values = checked_mapping("optuna", raw, ("storage",))
    storage = values.get("storage")
    if storage is None:
        return outputs.studies / "journal.log"
    text = str(storage)
    return text if "://" in text else Path(text)
