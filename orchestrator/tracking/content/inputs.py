"""Inputs of runs: each world model's card and training data, and the dataset that problems are taken from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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


def inputs_of(models: Iterable[str]) -> list[RunInput]:
    """The card and training data of each model, given by zoo name or path; unreadable models are skipped."""
    found = []
    for model in models:
        try:
            card, digest = read_card(model)
        except UserError:
            continue
        name = str(card.get("name") or model)
        source = json.dumps({"model": model, "format": card.get("format")})
        found.append(RunInput(name, digest, "world model", source, json.dumps(_card_profile(card))))
        data: Any = card.get("data")
        if isinstance(data, Mapping) and data.get("digest"):
            source = json.dumps({"dynamics": card.get("dynamics"), "model": name})
            found.append(RunInput(f"{name} training data", str(data["digest"]), "training", source, json.dumps(dict(data))))
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
