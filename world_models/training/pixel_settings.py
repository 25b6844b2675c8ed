"""Settings of training a world model on pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from world_models.errors import require
from world_models.training.encoder_stage import EncoderSettings
from world_models.training.latent_stages import (
    PredictorSettings,
    ProbeSettings,
    TemporalSettings,
)
from world_models.training.settings_of import settings_of
from world_models.training.train import check_training


@dataclass(frozen=True)
class PixelTrainSettings:
    """Data, sizes and fit of one pixel model. Raises UserError for nonsense, by name and value."""

    trajectories: int = 2000
    length: int = 100
    """Environment steps of a trajectory."""
    data_seed: int = 0
    size: int = 64
    """Side of the pictures, px."""
    proprioception: bool = False
    """Whether the model takes the task's proprioception beside pictures."""
    model: Mapping[str, object] = field(default_factory=dict)
    """Fields of `JEPAConfig` that differ from their defaults."""
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    align: bool = False
    """Turn the latents so that they are the state observations as a linear probe reads them (labels)."""
    predictor: PredictorSettings = field(default_factory=PredictorSettings)
    temporal: TemporalSettings | None = field(default_factory=TemporalSettings)
    """None: no such goal cost."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    goal_cost: str = "temporal"
    """What plans use unless told otherwise: `latent`, `temporal` or `probe`."""
    ensemble: int = 1
    """Predictors on the one encoder; 2 or more make an ensemble, whose disagreement plans can be made to pay for."""

    def __post_init__(self) -> None:
        check_training(self.trajectories, self.length, self.data_seed, self.ensemble)
        known = ("latent", "probe") if self.temporal is None else ("latent", "probe", "temporal")
        require(self.goal_cost in known, f"goal_cost {self.goal_cost!r} is none that is trained: choose one of {known}.")

    @staticmethod
    def of(values: Mapping[str, object]) -> PixelTrainSettings:
        """From a config mapping with a mapping a stage; lists become tuples. UserError for unknown names."""
        return settings_of(PixelTrainSettings, values, "train")
