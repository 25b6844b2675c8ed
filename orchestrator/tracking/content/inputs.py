"""Inputs of runs: each world model's card and training data, and the dataset that problems are taken from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from world_models.checkpoints.store import read_card
from world_models.errors import UserError


@dataclass(frozen=True)
class RunInput:
    """One input of a run, which MLflow calls a dataset, with a digest."""

    name: str
    digest: str
    context: str
    """Its role in the run, in a word or two."""
    source: str
    """Its source, as a JSON object."""
    profile: str
    """Its description, as a JSON object."""


@dataclass(frozen=True)
class ReadModel:
    """A world model of a sweep, as its card says."""

    model: str
    """Its zoo name or path."""
    card: Mapping[str, object]
    digest: str

    @property
    def name(self) -> str:
        """Its name for people."""
        return str(self.card.get("name") or self.model)


def read_models(models: Iterable[str]) -> list[ReadModel]:
    """The models, given by zoo name or path, that can be read."""
    found = []
    for model in models:
        with suppress(UserError):
            found.append(ReadModel(model, *read_card(model)))
    return found


def inputs_of(models: Iterable[ReadModel]) -> list[RunInput]:
    """The card and training data of each model."""
    found = []
    for model in models:
        source = json.dumps({"model": model.model, "format": model.card.get("format")})
        found.append(RunInput(model.name, model.digest, "world model", source, json.dumps(_card_profile(model.card))))
        data: Any = model.card.get("data")
        if isinstance(data, Mapping) and data.get("digest"):
            source = json.dumps({"dynamics": model.card.get("dynamics"), "model": model.name})
            profile = json.dumps(dict(data))
            found.append(RunInput(f"{model.name} training data", str(data["digest"]), "training", source, profile))
    return found


def problems_input(problems: Mapping[str, Any]) -> RunInput:
    """The dataset whose rows are a point's problems, from what the ledger has of it."""
    path = str(problems["path"])
    name = path.rstrip("/").rpartition("/")[2] or path
    source = json.dumps({"path": path, "kind": problems.get("kind")})
    drawn = {key: value for key, value in problems.items() if key not in ("path", "digest") and value not in (None, [])}
    return RunInput(name, str(problems["digest"]), "problems", source, json.dumps(drawn))


def _card_profile(card: Mapping[str, object]) -> dict[str, object]:
    """The card without the fields that are logged elsewhere."""
    return {key: value for key, value in card.items() if key not in ("content_digest", "data")}
