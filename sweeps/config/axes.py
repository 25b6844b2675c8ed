"""The axes of a grid, parsed from a config: modes, goal costs, disagreements, noise seeds, seeds.

Every function raises a UserError that names the invalid value.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import cast

from orchestrator.core.cell import replan_every
from planners.settings import LARGEST_NUMBER
from world_models.errors import UnknownNameError, UserError, brief, require

LARGEST_SEED = 2**53
"""The largest seed: JSON readers and tables hold whole numbers up to here without loss."""
MOST_SEEDS = 1_000_000
"""The most seeds of a sweep."""
MOST_POINTS = 20_000
"""The most points of a sweep: each is checked before the first is planned, and is a run in MLflow."""
MOST_CELLS = 10_000_000
"""The most cells of a sweep."""


def modes_of(raw: object) -> tuple[str, ...]:
    """Execution modes, from a single one or a list."""
    modes = [str(mode) for mode in as_list(raw)]
    require(bool(modes), "the grid is empty: it has no execution mode; give at least one, e.g. mode=[open_loop,mpc:10].")
    for mode in modes:
        replan_every(mode)
    return tuple(cast("list[str]", unique("mode", list(modes))))


def goal_costs_of(raw: object) -> tuple[str | None, ...]:
    """Names of goal costs, from a single one or a list; null is the model's own."""
    return tuple(None if name is None else str(name) for name in unique("goal cost", as_list(raw))) or (None,)


def disagreements_of(raw: object) -> tuple[float, ...]:
    """Disagreement weights, from a single one or a list."""
    for value in as_list(raw):
        sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER
        require(
            sound, f"disagreement {brief(value)} is not a weight >= 0 and <= {LARGEST_NUMBER:g}: give e.g. disagreement=0.1."
        )
    return tuple(float(cast(float, value)) for value in unique("disagreement", as_list(raw))) or (0.0,)


def noise_seeds_of(raw: object) -> tuple[int | None, ...]:
    """Noise seeds, from a count or a list; null draws each problem's noise from the problem's own seed."""
    values: list[object] = as_list(raw)
    if raw is not None and not isinstance(raw, list):
        sentence = (
            f"noise_seeds {brief(raw)} is not a number of noise seeds: give e.g. noise_seeds=5 or noise_seeds=[null,0,1]."
        )
        require(_is_seed(raw) and raw != 0 and cast(int, raw) <= MOST_POINTS, sentence)
        values = [*range(cast(int, raw))]
    for value in values:
        require(
            value is None or _is_seed(value),
            f"noise seed {brief(value)} is neither a whole number from 0 to {LARGEST_SEED} nor null.",
        )
    return tuple(cast("list[int | None]", unique("noise seed", values))) or (None,)


def seeds_of(raw: object) -> tuple[int, ...]:
    """Seeds, from a count, `{start, count}` or a list; UserError for anything else."""
    if isinstance(raw, Mapping):
        start, count = raw.get("start", 0), raw.get("count", 0)
        unknown = set(raw) - {"start", "count"}
        require(not unknown, f"seeds has {sorted(map(str, unknown))}: give start and count, a list, or a number.")
        require(_is_seed(start), f"seeds.start {brief(start)} is not a whole number from 0 to {LARGEST_SEED}.")
        seeds: list[object] = [start + i for i in range(_count(count))]
    elif isinstance(raw, list):
        seeds = raw
    else:
        seeds = list(range(_count(raw)))
    require(bool(seeds), "the grid is empty: it has no seeds; give some, e.g. seeds=8.")
    for seed in seeds:
        require(_is_seed(seed), f"seed {brief(seed)} is not a whole number from 0 to {LARGEST_SEED}.")
    return tuple(cast("list[int]", unique("seed", seeds)))


def _count(value: object) -> int:
    if not _is_seed(value) or cast(int, value) > MOST_SEEDS:
        fault = f"not a number of seeds up to {MOST_SEEDS}"
        raise UserError(f"seeds {brief(value)} is {fault}: give e.g. seeds=8 or seeds=[0,1,2].")
    return cast(int, value)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SEED


def as_list(value: object) -> list[object]:
    """The value as a list: a list is returned unchanged, None becomes empty, anything else a list of one."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def unique(kind: str, values: list[object]) -> list[object]:
    """The same values; UserError if one is given twice."""
    seen: set[object] = set()
    for value in values:
        key = value if isinstance(value, Hashable) else repr(value)
        require(key not in seen, f"{kind} {value!r} is given twice: name each once.")
        seen.add(key)
    return values


def checked_mapping(where: str, raw: object, keys: Sequence[str]) -> Mapping[str, object]:
    """`raw`, a mapping with only these keys; UserError for anything else."""
    require(isinstance(raw, Mapping), f"{where} {raw!r} has no settings: give e.g. {where}.{keys[0]}=VALUE.")
    for key in cast("Mapping[str, object]", raw):
        if key not in keys:
            raise UnknownNameError(f"setting of {where}:", str(key), keys)
    return cast("Mapping[str, object]", raw)
