"""Protocols of tasks whose rows are recorded by other projects' environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@runtime_checkable
class SettlesStarts(Protocol):
    """A task whose episodes are first observed a little after the state that their reset is given."""

    def first_observed(self, states: Float[np.ndarray, "n simulator_state"]) -> Float[np.ndarray, "n simulator_state"]:
        """The states of episodes that begin in these, when they are first observed."""
        ...


@runtime_checkable
class NamedActionUnits(Protocol):
    """A task whose actions some datasets hold in another unit, which they name."""

    @property
    def action_units(self) -> Mapping[str, float]:
        """The size of an action of 1, by unit."""
        ...
