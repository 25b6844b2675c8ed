"""Settings of training a world model on images."""

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
    """Data, sizes and training stages of one pixel model. Raises UserError for invalid values."""

    trajectories: int = 2000
    length: int = 100
    """Environment steps of a trajectory."""
    data_seed: int = 0
    size: int = 64
    """Side of the images, px."""
    proprioception: bool = False
    """Whether the model takes the task's proprioception in addition to images."""
    model: Mapping[str, object] = field(default_factory=dict)
    """Fields of `JEPAConfig` that differ from their defaults."""
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    align: bool = False
    """Whether to align the latents with the state observations (labels) by a linear probe."""
    predictor: PredictorSettings = field(default_factory=PredictorSettings)
    temporal: TemporalSettings | None = field(default_factory=TemporalSettings)
    """None: no temporal goal cost."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    goal_cost: str = "temporal"
    """Default goal cost of plans: `latent`, `temporal` or `probe`."""
    ensemble: int = 1
    """Number of predictors on the encoder; 2 or more form an ensemble, on whose disagreement planners can put a price."""

    def __post_init__(self) -> None:
        check_training(self.trajectories, self.length, self.data_seed, self.ensemble)
        require(8 <= self.size <= 1024, f"size {self.size} is not a side of images: give 8 to 1024 pixels, e.g. 64.")
        known = ("latent", "probe") if self.temporal is None else ("latent", "probe", "temporal")
        require(self.goal_cost in known, f"goal_cost {self.goal_cost!r} is not trained: choose one of {', '.join(known)}.")

    @staticmethod
    def of(values: Mapping[str, object]) -> PixelTrainSettings:
        """Settings from a config mapping with one mapping per stage. Raises UserError for unknown names."""
        return settings_of(PixelTrainSettings, values, "train")
