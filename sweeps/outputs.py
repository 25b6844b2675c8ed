"""The output folder: where everything lies, and saved sweeps.

outputs/ledger/           every finished cell of every sweep (Parquet)
outputs/sweeps/NAME/      sweep.json, config.yaml, report.txt, report.csv, success.png
outputs/artifacts/POINT/  SEED.gif, SEED.png of a few cells a point
outputs/plans/            pictures of `grasp plan`
outputs/diagnose/         figures and tables of `grasp diagnose`
outputs/mlflow.db, outputs/mlartifacts/, outputs/mlmarkers/
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.config import compose
from sweeps.grid import Grid
from world_models.errors import UnknownNameError, UserError, require


@dataclass(frozen=True)
class Outputs:
    """Paths below one root; nothing is created before `prepare`."""

    root: Path

    @property
    def ledger(self) -> Path:
        """Folder of the ledger."""
        return self.root / "ledger"

    @property
    def artifacts(self) -> Path:
        """Pictures of cells, a folder a point."""
        return self.root / "artifacts"

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
    def markers(self) -> Path:
        """What the tracker has written already."""
        return self.root / "mlmarkers"

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

    def save(self, grid: Grid, config_text: str) -> None:
        """Remember a sweep, so that it can be reported on; replaces what was saved under its name."""
        folder = self.sweep(grid.name)
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "config.yaml", config_text)
        _replace(folder / "sweep.json", json.dumps(grid.as_json(), indent=1))

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
            return Grid.from_json(json.loads(file.read_text()))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"{str(file)!r} is no saved sweep of this version: run the sweep again to write it anew."
            ) from error


def outputs_of(words: Sequence[str]) -> Outputs:
    """The output folder that the `key=value` words among `words` name, else the default one."""
    return Outputs(Path(str(compose("config", [word for word in words if "=" in word]).values["output"])))


def _replace(file: Path, text: str) -> None:
    """Write whole or not at all."""
    temporary = file.with_suffix(f".tmp{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(file)
