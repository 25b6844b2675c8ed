"""The only use of Hydra: overrides on the command line become one plain mapping.

Every user error in an override becomes one sentence with the nearest names. A setting given on the command line wins
over every file, including tuned rules (`Composed.forced`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.core.messages import mask_token, mask_values
from sweeps.config.tuned import tuned_rules
from world_models.errors import UnknownNameError, UserError, require

CONF = Path(__file__).parent.parent / "conf"
"""The configs that ship with the package."""

ALIASES = {
    "world_model": "world_models",
    "horizon": "horizons",
    "seed": "seeds",
    "goal_cost": "goal_costs",
    "noise_seed": "noise_seeds",
}
"""Singular keys that people type where `sweep` and `plan` want lists."""

MOST_VALUES = 2_000
"""The most values of `key=range(...)` or `key=a,b,c`."""

SEED_KEYS = ("seeds", "choice_seeds", "held_out")
"""Keys that take a count, a list, or {start, count}."""

_OPEN = ("world_model.", "space.", "constraints.", "starts.")
"""Groups that accept keys which the files do not have."""
_SETTING = re.compile(r"(planners|tasks)\.([^.]+)\.settings\.([^.]+)")
_RULES = re.compile(r"planners\.([^.]+)\.overrides")


@dataclass(frozen=True)
class Composed:
    """A composed and resolved config in plain containers."""

    values: Mapping[str, object]
    forced: Mapping[str, Mapping[str, object]]
    """Planner settings given on the command line, by planner label."""

    @property
    def text(self) -> str:
        """The config as YAML, for records; passwords in addresses are masked."""
        return OmegaConf.to_yaml(OmegaConf.create({key: mask_values(value) for key, value in self.values.items()}))


def groups(extra: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Config groups and their options, `{"task": ("push_t", "wall", ...), ...}`."""
    found: dict[str, set[str]] = {}
    for folder in (CONF, extra) if extra else (CONF,):
        for file in folder.glob("*/*.yaml"):
            found.setdefault(file.parent.name, set()).add(file.stem)
    return {name: tuple(sorted(options)) for name, options in sorted(found.items())}


def compose(name: str, overrides: Sequence[str] = (), extra: Path | None = None) -> Composed:
    """Compose `conf/NAME.yaml` with overrides; `extra` is a folder of the user's own configs, laid out like ours.

    A planner's tuned files become the last of its rules, unless the command line gives its rules.

    Raises UserError for an override that cannot be parsed, an unknown key or option, or an unknown key in a tuned file.
    """
    if extra is not None:
        require(extra.is_dir(), f"config folder {str(extra)!r} is not a folder: give one with sweep/NAME.yaml and the like.")
    known = groups(extra)
    parsed = [_parse(text) for text in overrides]
    replaced, arguments, forced, ruled = {}, [], {}, set()
    for override in parsed:
        argument, key, value = _translate(override, name, known)
        if key in SEED_KEYS:
            replaced[key] = value  # a list cannot be merged into {start, count}: it replaces it
            continue
        arguments.append(argument)
        setting = _SETTING.fullmatch(key)
        if setting and setting[1] == "planners":
            forced.setdefault(setting[2], {})[setting[3]] = value
        if rules := _RULES.fullmatch(key):
            ruled.add(rules[1])
    if extra is not None:
        arguments.append(f"hydra.searchpath=['file://{extra.resolve()}']")
    values = {**_compose(name, arguments, known), **replaced}
    _add_tuned(values.get("planners"), ruled, (CONF, extra) if extra else (CONF,))
    return Composed(values, forced)


def _add_tuned(planners: object, ruled: Collection[str], folders: Sequence[Path]) -> None:
    """Append the rules of the tuned files to those of every planner except the `ruled` ones."""
    for label, entry in planners.items() if isinstance(planners, dict) else ():
        if isinstance(entry, dict) and entry.get("name") and label not in ruled:
            entry["overrides"] = [*(entry.get("overrides") or ()), *tuned_rules(label, folders)]


def several(group: str, overrides: Sequence[str], extra: Path | None = None) -> tuple[int, list[str]] | None:
    """Position of the override that names several options of a group, and those options; None if there is none.

    Raises UserError for an override that cannot be parsed, an unknown option, or an option given twice.
    """
    for position, override in enumerate(_parse(text) for text in overrides):
        value = _value(override) if override.key_or_group == group else None
        if isinstance(value, list):
            require(bool(value), f"{override.input_line!r} names no {group}: leave it out or name one.")
            _check_options(group, value, groups(extra)[group])
            return position, [str(name) for name in value]
    return None


def _parse(text: str) -> Override:
    sentence = f"cannot read {mask_token(text)!r}: overrides look like key=value, e.g. seeds=16 or horizons=[25,50]."
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UserError(sentence) from error
    require(bool(override.key_or_group), sentence)
    return override


def _translate(override: Override, config: str, known: Mapping[str, tuple[str, ...]]) -> tuple[str, str, object]:
    """An override's argument for Hydra, its key and its value; `a,b` becomes a list, and options are checked."""
    given = override.key_or_group
    key = _alias(given, config)
    if override.is_delete() or key.startswith("hydra"):
        return cast(str, override.input_line), key, None
    value = _value(override)
    if config != "train" and given in ALIASES and not isinstance(value, list):
        value = [value]  # `seed=7` is seed 7, whereas `seeds=7` is seven seeds
    if key in known and key == given:
        _check_options(key, value, known[key])
    added = override.is_add() or override.is_force_add()
    mark = "++" if _SETTING.fullmatch(key) or key.startswith(_OPEN) else "+" if added else ""
    return f"{mark}{key}={override_text(value)}", key, value


def _alias(key: str, config: str) -> str:
    """The full key behind a shorthand."""
    if config != "train":
        return ALIASES.get(key, key)
    return f"world_model.{key}" if key.split(".")[0] in ("train", "task") else key


def _value(override: Override) -> object:
    """The override's value; `a,b` and `range(3)` are lists, because there is no Hydra multirun here."""
    if not override.is_sweep_override():
        return override.value()
    sentence = f"{mask_token(str(override.input_line))!r} is not a list of values: write {override.key_or_group}=[1,2,3]."
    shuffled = isinstance(swept := override.value(), RangeSweep) and swept.shuffle
    require(override.is_discrete_sweep() and not shuffled, sentence)
    try:
        values = list(islice(override.sweep_iterator(), MOST_VALUES + 1))
    except HydraException as error:
        raise UserError(sentence) from error
    require(len(values) <= MOST_VALUES, f"{override.key_or_group} has more than {MOST_VALUES} values: give fewer.")
    return values


def _check_options(group: str, value: object, known: tuple[str, ...]) -> None:
    """Raise UserError unless every option exists and none is given twice."""
    options = value if isinstance(value, list) else [value]
    kind = group.replace("_", " ")
    for option in options:
        if option not in known:
            raise UnknownNameError(kind, option, known)
        require(options.count(option) == 1, f"{kind} {option!r} is given twice: name each once.")


def override_text(value: object) -> str:
    """The value written in Hydra's grammar, as in an override."""
    if isinstance(value, list):
        return "[" + ",".join(override_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{override_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _compose(name: str, arguments: Sequence[str], known: Mapping[str, tuple[str, ...]]) -> dict[str, object]:
    with initialize_config_dir(str(CONF), version_base=None):
        try:
            return cast("dict[str, object]", OmegaConf.to_container(hydra_compose(name, list(arguments)), resolve=True))
        except (HydraException, OmegaConfBaseException) as error:
            missing = re.search(r"Could not override '([^']*)'", str(error))
            if missing is None:
                raise UserError(f"the config cannot be composed: {' '.join(str(error).split())}") from error
            every = {*_keys(OmegaConf.to_container(hydra_compose(name), resolve=True)), *known}
            raise UnknownNameError("config key", missing[1], every) from error


def _keys(values: object, prefix: str = "") -> Iterator[str]:
    """Dotted names of everything that can be set."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")
