"""Settings as a host's configuration gives them: ours by their names, and the host's own, which a changed `_target_` leaves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from planners import PLANNERS, planner_settings
from planners.settings import Settings
from world_models.errors import UnknownNameError

SAME_MEANING = {"num_samples": "samples", "topk": "elites", "n_steps": "iterations", "var_scale": "std"}
"""Names of the hosts for settings of our shooting planners."""

LIFTED = ("grasp", "latco")
"""Planners over states as well as actions: they need a model that steps, and no host's setting means the same to them."""

HOST_NAMES = frozenset(
    (
        *SAME_MEANING,
        *("action_noise", "alpha", "callbacks", "grad_clip", "n_elite_keep", "n_outer_steps", "noise_beta", "noise_scale"),
        *("optimizer_cls", "optimizer_kwargs", "persist_multipliers", "return_mean", "rho_init", "rho_max", "rho_scale"),
        *("smoothing", "temperature"),
    )
)
"""Settings of the hosts' own solvers."""


def settings_of(planner: str, given: Mapping[str, Any]) -> Settings:
    """Settings of a planner from the names in a host's configuration.

    Names of the host's solvers are translated where ours mean the same, and else left aside with a warning. Raises
    UnknownNameError for other names, UserError for a value out of range.
    """
    planner_settings(planner)
    known = {field.name for field in fields(PLANNERS[planner][0])}
    ours, aside = {}, []
    for name, value in given.items():
        translated = SAME_MEANING.get(name, "") if planner not in LIFTED else ""
        if name in known:
            ours[name] = value
        elif translated in known:
            ours.setdefault(translated, value)
        elif name in HOST_NAMES:
            aside.append(name)
        else:
            raise UnknownNameError(f"setting of planner {planner!r}:", name, known)
    if aside:
        listed = ", ".join(aside)
        warnings.warn(f"{listed}: settings of the host's own solvers, which {planner} leaves aside.", stacklevel=4)
    return planner_settings(planner, ours)
