"""The world models of a sweep as inputs of its run: each model's card, and the data that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from world_models.checkpoints.store import read_card
from world_models.errors import UserError


@dataclass(frozen=True)
class RunInput:
    """One input of a run, as MLflow has them: a data set with a digest."""

    name: str
    digest: str
    context: str
    """What it is to the run, in a word or two."""
    source: str
    """JSON object."""
    profile: str
    """JSON object."""


def inputs_of(models: Iterable[str]) -> list[RunInput]:
    """Of models by zoo name or path, card and training data each; those that cannot be read any more are left out."""
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


def _card_profile(card: Mapping[str, object]) -> dict[str, object]:
    """A card without what is said elsewhere."""
    return {key: value for key, value in card.items() if key not in ("content_digest", "data")}
