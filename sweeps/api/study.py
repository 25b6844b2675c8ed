"""Studies from Python: `tune(...)` searches a planner's settings, and a `Study` holds the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import pandas as pd

from orchestrator.core.cell import Scalar
from orchestrator.tuning.optuna_study import trials_of
from sweeps.api.arguments import call_text, console_and_view, override_words
from sweeps.config.outputs import Outputs, outputs_of, storage_of
from sweeps.config.schema.check import typed
from sweeps.config.schema.configs import OptunaConfig
from sweeps.console.signals import INTERRUPTED
from sweeps.tuning import report
from sweeps.tuning.spec import read_study
from sweeps.tuning.tune import run_study
from world_models.errors import UnknownNameError, UserError
from world_models.files.yaml_reading import load_yaml


def tune(
    *words: str,
    output: str | PathLike[str] | None = None,
    quiet: bool = False,
    conf: str | PathLike[str] | None = None,
    **keys: object,
) -> Study:
    """Search a planner's settings until the study has its number of trials, judge the best on fresh seeds, and return it.

    Arguments, errors and Ctrl-C are as for `sweep`; the keys are those of `grasp tune`, such as `trials`. A study that has
    already ended is returned at once.

    >>> import grasp_orchestrator as grasp
    >>> study = grasp.tune(
    ...     "space.iterations.low=2", "space.iterations.high=6", "planners.gd.settings.attempts=1", "tracking.enabled=false",
    ...     name="short", task="wall", planner="gd", horizons=[10], trials=3, top=1, seeds=4, backend="inline",
    ...     choice_seeds={"start": 100, "count": 2}, held_out={"start": 200, "count": 2}, output="outputs", quiet=True,
    ... )
    >>> study
    study short: 3 trials
    """
    overrides = override_words(words, {**keys, "output": None if output is None else Path(output)})
    spec = read_study(overrides, None if conf is None else Path(conf))
    console, view = console_and_view(quiet)
    if run_study(spec, overrides, console, view, call_text("tune", overrides)) == INTERRUPTED:
        raise KeyboardInterrupt
    return Study(spec.name, spec.outputs, spec.location)


def load_study(name: str, output: str | PathLike[str] = "outputs") -> Study:
    """A study that has ended, by its name, from the folder that it was run with.

    Raises UserError, with the nearest names, if there is none.

    >>> grasp.load_study("short", output="outputs")
    study short: 3 trials
    """
    outputs = outputs_of(override_words((), {"output": Path(output)}))
    known = sorted(file.parent.name for file in outputs.studies.glob(f"*/{report.WINNER}"))
    if name not in known:
        raise UnknownNameError("study that has ended", name, known)
    file = outputs.study(name) / "config.yaml"
    values = load_yaml(file, f"the config of study {name!r}")
    section = values.get("optuna") if isinstance(values, dict) else None
    config = typed(OptunaConfig, section if isinstance(section, dict) else {}, lambda key: f" in {file}")
    return Study(name, outputs, storage_of(config, outputs))


@dataclass(frozen=True, repr=False)
class Study:
    """A study of a planner's settings; every method reads its files or its storage again."""

    name: str
    outputs: Outputs
    location: str | Path
    """Storage of the trials: a journal file, or the address of a database."""

    @property
    def folder(self) -> Path:
        """Folder of the study's report and pictures."""
        return self.outputs.study(self.name)

    @property
    def best(self) -> Mapping[str, Scalar]:
        """Settings of the winner that differ from the planner's own, by name; empty if its own are the best.

        Raises UserError if the study has not ended.

        >>> isinstance(study.best, dict)
        True
        """
        return dict(report.read(self.folder, self.name)["candidates"][0]["settings"])

    def trials(self) -> pd.DataFrame:
        """A frame with one row per trial: its state, the values of the objectives, whether it is feasible, its settings.

        >>> len(study.trials())
        3
        """
        views = trials_of(self.location, self.name)
        objectives = self._objectives(max((len(view.values) for view in views), default=1))
        rows = [
            {
                "trial": view.number,
                "state": view.state.value,
                **dict(zip(objectives, view.values, strict=False)),
                "feasible": view.feasible,
                **view.settings,
            }
            for view in views
        ]
        return pd.DataFrame(rows)

    def candidates(self) -> pd.DataFrame:
        """A frame with one row per judged candidate, the winner first: success on each set of seeds, and versus the default.

        `held_out` is success on seeds that were not used for tuning or selection, with its 95 % interval. Raises UserError if
        the study has not ended.

        >>> "default" in set(study.candidates()["settings"])
        True
        """
        report.read(self.folder, self.name)
        try:
            return pd.DataFrame(**json.loads((self.folder / "held_out.json").read_text()))
        except (OSError, ValueError) as error:
            raise UserError(f"the candidates of study {self.name} cannot be read ({error}): run the study again.") from error

    def _objectives(self, count: int) -> list[str]:
        """Names of the objectives; those of a study that has not ended are numbered."""
        if (self.folder / report.WINNER).is_file():
            return list(report.read(self.folder, self.name)["objectives"])
        return ["value"] if count == 1 else [f"value {number}" for number in range(count)]

    def __repr__(self) -> str:
        return f"study {self.name}: {len(trials_of(self.location, self.name))} trials"
