"""A world model that `mlflow.pyfunc.load_model` loads back from MLflow. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float

from world_models.base import Context, rollout
from world_models.checkpoints.store import LoadedModel, load


class PlannableModel:
    """A world model behind MLflow's interface: `get_raw_model()` of what MLflow returns gives the `LoadedModel` itself."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    def get_raw_model(self) -> LoadedModel:
        """The model, its goal cost and its card."""
        return self.loaded

    def predict(
        self, model_input: Mapping[str, np.ndarray], params: Mapping[str, object] | None = None
    ) -> Float[np.ndarray, "batch time *state"]:
        """States that follow from `observation` `[batch, observation]`, at rest, and `actions` `[batch, time, action]`.

        Actions are those of model steps, in the environment's units; there are no `params`.
        """
        model = self.loaded.model
        observation, actions = (
            torch.as_tensor(np.asarray(model_input[key]), dtype=model.dtype, device=model.device)
            for key in ("observation", "actions")
        )
        with torch.no_grad():
            return rollout(model, Context.at(model, model.encode(observation)), actions).cpu().numpy()


def _load_pyfunc(path: str) -> PlannableModel:
    """The model whose files are in a folder; MLflow calls this."""
    return PlannableModel(load(path))
