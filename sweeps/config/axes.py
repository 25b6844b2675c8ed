"""The axes of a grid, parsed from a config: modes, histories, goal costs, disagreements, noise seeds, seeds.

Every function raises a UserError that names the invalid value.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import cast

from orchestrator.core.modes import ExecutionMode
from orchestrator.core.success import FINAL, SuccessRule
from planners.settings import LARGEST_NUMBER
from world_models.errors import UserError, brief, require
from world_models.history import History
from world_models.tasks.base import LONGEST_HORIZON

MAX_SEED = 2**63 - 1
"""Largest seed that the ledger holds."""
MAX_VALUES = 1_000_000
"""Most seeds of a grid, and most values of any other axis."""
MOST_POINTS = 20_000
"""The most points of a sweep: each is checked before the first is planned, and is a run in MLflow."""
MOST_CELLS = 10_000_000
"""The most cells of a sweep."""


def horizons_of(raw: object) -> tuple[int, ...]:
    """Horizons in environment steps, from a single one or a list; none for null."""
    for horizon in (horizons := bounded("horizons", as_list(raw))):
        require(
            isinstance(horizon, int) and not isinstance(horizon, bool) and 0 < horizon <= LONGEST_HORIZON,
            f"horizon {brief(horizon)} is not a positive number of steps up to {LONGEST_HORIZON}: give e.g. horizons=[25,50].",
        )
    return tuple(cast("list[int]", unique("horizon", horizons)))


def modes_of(raw: object) -> tuple[str, ...]:
    """Execution modes, from a single one or a list."""
    modes = [str(mode) for mode in as_list(raw)]
    require(bool(modes), "the grid is empty: it has no execution mode; give at least one, e.g. mode=[open_loop,mpc:10].")
    for mode in modes:
        ExecutionMode.of(mode)
    return tuple(cast("list[str]", unique("mode", list(modes))))


def histories_of(raw: object) -> tuple[str | None, ...]:
    """History modes, from a single one or a list; null is that of the model's card."""
    histories = [None if history is None else str(History.of(str(history))) for history in as_list(raw)]
    return tuple(cast("list[str | None]", unique("history", list(histories)))) or (None,)


def successes_of(raw: object) -> tuple[str, ...]:
    """Success rules, from a single one or a list."""
    rules = [str(rule) for rule in as_list(raw)] or [FINAL]
    for rule in rules:
        SuccessRule.of(rule)
    return tuple(cast("list[str]", unique("success rule", list(rules))))


def goal_costs_of(raw: object) -> tuple[str | None, ...]:
    """Names of goal costs, from a single one or a list; null is the model's own."""
    return tuple(None if name is None else str(name) for name in unique("goal cost", as_list(raw))) or (None,)


def disagreements_of(raw: object) -> tuple[float, ...]:
    """Disagreement weights, from a single one or a list."""
    for value in as_list(raw):
        sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER
        require(sound, f"disagreement {brief(value)} is not a weight >= 0 and <= 1e9: give e.g. disagreement=0.1.")
    return tuple(float(cast(float, value)) for value in unique("disagreement", as_list(raw))) or (0.0,)


def noise_seeds_of(raw: object) -> tuple[int | None, ...]:
    """Noise seeds, from a count or a list; null draws each problem's noise from the problem's own seed."""
    values: list[object] = as_list(raw)
    if raw is not None and not isinstance(raw, list):
        sentence = (
            f"noise_seeds {brief(raw)} is not a number of noise seeds: give e.g. noise_seeds=5 or noise_seeds=[null,0,1]."
        )
        require(_is_seed(raw) and 0 < cast(int, raw) <= MOST_POINTS, sentence)
        values = [*range(cast(int, raw))]
    for value in values:
        require(
            value is None or _is_seed(value),
            f"noise seed {brief(value)} is neither a whole number from 0 to {MAX_SEED} nor null.",
        )
    return tuple(cast("list[int | None]", unique("noise seed", values))) or (None,)


def seeds_of(raw: object, key: str = "seeds") -> tuple[int, ...]:
    """Seeds, from a count, `{start, count}` or a list; UserError for anything else, with the key that they are given for."""
    if isinstance(raw, Mapping):
        start, count = raw.get("start", 0), raw.get("count", 0)
        unknown = set(raw) - {"start", "count"}
        require(not unknown, f"{key} has {sorted(map(str, unknown))}: give start and count, a list, or a number.")
        require(_is_seed(start), f"{key}.start {brief(start)} is not a whole number from 0 to {MAX_SEED}.")
        first, last = cast(int, start), cast(int, start) + _count(count, key) - 1
        require(last <= MAX_SEED, f"{key} goes from {first} to {last}: the largest seed is {MAX_SEED}; give a smaller start.")
        seeds: list[object] = [*range(first, last + 1)]
    elif isinstance(raw, list | tuple):
        seeds = bounded(key, list(raw))
    else:
        seeds = list(range(_count(raw, key)))
    require(bool(seeds), f"the grid is empty: it has no seeds; give some, e.g. {key}=8.")
    for seed in seeds:
        require(_is_seed(seed), f"seed {brief(seed)} is not a whole number >= 0 and <= {MAX_SEED}.")
    return tuple(cast("list[int]", unique("seed", seeds)))


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds in words: `2 seeds from 100`, or the first few of a list."""
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{len(seeds)} seeds from {seeds[0]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    shown = ", ".join(map(str, seeds[:5]))
    return f"{len(seeds)} seeds: {shown}{', ...' if len(seeds) > 5 else ''}"


def _count(value: object, key: str) -> int:
    if not _is_seed(value) or cast(int, value) > MAX_VALUES:
        most = f", at most {MAX_VALUES}" if _is_seed(value) else ""
        raise UserError(f"{key} {brief(value)} is not a number of seeds{most}: give e.g. {key}=8 or {key}=[0,1,2].")
    return cast(int, value)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED


def bounded(key: str, values: list[object]) -> list[object]:
    """The same values; UserError if there are more than `MAX_VALUES`."""
    require(len(values) <= MAX_VALUES, f"{key} has {len(values)} values: give at most {MAX_VALUES}.")
    return values


def as_list(value: object) -> list[object]:
    """The value as a list: a list or tuple is copied, None becomes empty, anything else a list of one."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def unique(kind: str, values: list[object]) -> list[object]:
    """The same values; UserError if one is given twice."""
    seen: set[object] = set()
    for value in values:
        key = value if isinstance(value, Hashable) else repr(value)
        require(key not in seen, f"{kind} {value!r} is given twice: name each once.")
        seen.add(key)
    return values
