"""The layout of the output folder, and the sweeps saved in it.

outputs/ledger/           every finished cell of every sweep (Parquet)
outputs/sweeps/NAME/      sweep.json, config.yaml, status.json, report.html, .txt, .csv, figures; environment/; history/;
                          workers.jsonl, how busy processors and GPUs were
outputs/artifacts/POINT/  animations, pictures and trajectories of a few cells per point; chosen.json says why
outputs/studies/          journal.log, Optuna's storage; NAME/ winner.json, report.txt and figures of a study
outputs/quality/          generated configs and GRASP's seconds of `grasp quality`; page and figures unless page= is given
outputs/sizes.json        measured numbers of rows that fit into memory
outputs/inbox/            sweeps that a running driver is asked to plan too
outputs/plans/            pictures of `grasp plan`
outputs/diagnose/         figures and tables of `grasp diagnose`
outputs/mlflow.db, outputs/mlartifacts/, outputs/mlmarkers/
outputs/outbox/           records that MLflow has not received yet, one folder per tracking store

With `storage` given, ledger/ and artifacts/ lie there instead: a folder that several machines share, or an object store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.core.messages import mask_token
from orchestrator.storage.base import below
from orchestrator.storage.opening import open_storage
from sweeps.config.compose import compose
from sweeps.config.grid import Grid
from sweeps.config.schema.configs import Config, OptunaConfig, RunConfig, SweepConfig
from world_models.errors import UnknownNameError, UserError, require


@dataclass(frozen=True)
class Outputs:
    """Paths below one root folder; nothing is created before `prepare`."""

    root: Path
    storage: Path | str | None = None
    """Folder or URI of ledger/ and artifacts/; None: the root."""

    @staticmethod
    def of(config: Config) -> Outputs:
        """The outputs at a config's `output` and, if it has one, `storage`; UserError for an invalid storage."""
        storage = config.storage if isinstance(config, RunConfig) else None
        return Outputs(config.output) if storage is None else Outputs(config.output, _located(storage))

    @property
    def ledger(self) -> Path | str:
        """Folder or URI of the ledger."""
        return below(self.storage or self.root, "ledger")

    @property
    def artifacts(self) -> Path | str:
        """Folder or URI of the artifacts of cells, one folder per point."""
        return below(self.storage or self.root, "artifacts")

    @property
    def plans(self) -> Path:
        """Folder of the pictures of single plans."""
        return self.root / "plans"

    @property
    def models(self) -> Path:
        """Folder of the models trained by `grasp train`."""
        return self.root / "models"

    @property
    def data(self) -> Path:
        """Folder of the trajectories that models are trained on."""
        return self.root / "data"

    @property
    def memory_limits(self) -> Path:
        """File of how many rows of each kind of batch fit into memory."""
        return self.root / "sizes.json"

    @property
    def join_requests(self) -> Path:
        """Folder of the sweeps that a running driver is asked to plan too."""
        return self.root / "inbox"

    @property
    def database(self) -> Path:
        """MLflow's SQLite file."""
        return self.root / "mlflow.db"

    @property
    def tracking_uri(self) -> str:
        """URI of MLflow's store."""
        return f"sqlite:///{self.database.resolve()}"

    @property
    def tracking_artifacts(self) -> Path:
        """Folder of MLflow's artifacts."""
        return self.root.resolve() / "mlartifacts"

    @property
    def outbox(self) -> Path:
        """Folder of the records that the tracker has yet to deliver, one folder per tracking store."""
        return self.root / "outbox"

    @property
    def markers(self) -> Path:
        """Folder that marks what the tracker has already written."""
        return self.root / "mlmarkers"

    @property
    def studies(self) -> Path:
        """Folder of the studies' journal, with one folder per study."""
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
        """Save a sweep, so that it can be reported on later.

        A different grid saved under the same name moves to `history`; the result then says in one sentence how they differ.
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
            difference = f"a sweep named {grid.name} was saved with another grid ({difference}): its spec is now in {history}"
        _replace(folder / "config.yaml", config_text)
        storage = None if self.storage is None else str(self.storage)
        _replace(folder / "sweep.json", json.dumps({**grid.as_json(), "storage": storage}))
        return difference

    def difference(self, grid: Grid) -> str | None:
        """How a grid differs from the one saved under its name; None if they are equal or none was saved."""
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
        """Names of the saved sweeps, latest first."""
        found = list(self.root.glob("sweeps/*/sweep.json"))
        return [file.parent.name for file in sorted(found, key=lambda file: -file.stat().st_mtime)]

    def load(self, name: str | None = None) -> Grid:
        """The saved sweep of that name, or the latest; UserError, with the nearest names, if there is none."""
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
        """Folder that records a sweep's environment: command, versions, hardware and uncommitted changes."""
        return self.sweep(name) / "environment"

    def usage(self, name: str) -> Path:
        """File with samples of how much of processors and GPUs a sweep's workers used."""
        return self.sweep(name) / "workers.jsonl"

    def of_sweep(self, name: str) -> Outputs:
        """These outputs with the storage of a saved sweep, unless they have one of their own."""
        storage = _saved(self.sweep(name) / "sweep.json").get("storage")
        return self if self.storage is not None or storage is None else replace(self, storage=_located(str(storage)))


def outputs_of(words: Sequence[str]) -> Outputs:
    """The output folder that the `key=value` words among `words` name, else the default one.

    Raises UserError for a key other than `output` and `storage`, which would have no effect.
    """
    given = [word for word in words if "=" in word]
    for word in given:
        check_used(word, ("output", "storage"))
    return Outputs.of(compose(SweepConfig, given).config)


def check_used(word: str, used: Sequence[str]) -> None:
    """Raise UserError unless the key of an override is among those that a command uses, or below one of them."""
    key = word.partition("=")[0].lstrip("+~")
    sound = any(key == each or key.startswith(f"{each}.") for each in used)
    require(sound, f"{mask_token(word)!r} has no effect here: give only {' or '.join(f'{each}=' for each in used)}.")


def _located(storage: str) -> Path | str:
    """The config's storage: a URI unchanged, a folder as an absolute path; UserError for an invalid one."""
    open_storage(storage)
    return storage if "://" in storage else Path(storage).resolve()


def _saved(file: Path) -> dict[str, Any]:
    """The content of a saved sweep's file; UserError when it does not hold one."""
    try:
        raw = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise _stale(file) from error
    if not isinstance(raw, dict):
        raise _stale(file)
    return raw


def _stale(file: Path) -> UserError:
    return UserError(f"{str(file)!r} is not a sweep saved by this version: run the sweep again to replace it.")


def _replace(file: Path, text: str) -> None:
    """Write the file completely or not at all."""
    temporary = file.with_suffix(f".tmp{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(file)


def storage_of(config: OptunaConfig, outputs: Outputs) -> str | Path:
    """Where studies are kept: a journal file or a URI."""
    if config.storage is None:
        return outputs.studies / "journal.log"
    return config.storage if "://" in config.storage else Path(config.storage)
