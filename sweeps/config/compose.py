"""The only use of Hydra: files and overrides become one typed config.

Hydra chooses and merges the files; the overrides are applied to what it composed, values are resolved, tuned rules are added,
and the result is checked once against the schema. A setting given on the command line wins over every file, including tuned
rules (`Composed.forced`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.core.cell import Scalar
from orchestrator.core.messages import mask_text, mask_token, mask_values
from orchestrator.core.secrets import variable_in
from sweeps.config.assigning import assign, resolved
from sweeps.config.files import CONF, SECTIONS, check_files, groups, header_faults
from sweeps.config.options import with_plugins
from sweeps.config.overrides import Assignment, assignments, override_text
from sweeps.config.schema.check import has_key, typed, unknown_key
from sweeps.config.schema.configs import Config
from sweeps.config.seeds import SEED_KEYS
from sweeps.config.sources import Sources, file_sources
from sweeps.config.tuned import tuned_rules
from world_models.errors import UnknownNameError, UserError, require

C = TypeVar("C", bound=Config)

_MAY_BE_NULL = ("protocol", "space")
"""Groups of which a config need not choose a file."""


@dataclass(frozen=True)
class Origin:
    """The choices of files and the overrides that a config was composed of."""

    kind: type[Config]
    choices: tuple[str, ...]
    changes: tuple[Assignment, ...]
    extra: Path | None

    def sources(self, planners: object) -> Sources:
        """The source of each value; `planners` are composed, with their tuned rules."""
        arguments = _arguments(self.choices, self.extra)
        with initialize_config_dir(str(CONF), version_base=None):
            files = file_sources(self.kind.FILE, arguments, self.extra)
        return files.with_overrides(self.changes).with_tuned(planners)


@dataclass(frozen=True)
class Composed(Generic[C]):
    """A typed config with what it was composed of."""

    config: C
    forced: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """Planner settings given on the command line, by planner label."""
    values: Mapping[str, object] = field(default_factory=dict)
    """The same in plain containers, for records."""
    origin: Origin | None = None
    """The overrides and folder that it was composed of; None for one that was made up."""

    @cached_property
    def sources(self) -> Sources:
        """The source of each value. The files are read for it once more, which composing alone does not need."""
        return Sources() if self.origin is None else self.origin.sources(self.values.get("planners"))

    def changed(self, section: str) -> dict[str, list[str]]:
        """Changes of a section's entries by the command line, by entry, as `key=value` without its place."""
        found: dict[str, list[str]] = {}
        for each in () if self.origin is None else self.origin.changes:
            head, _, rest = each.key.partition(".")
            label, _, key = rest.partition(".")
            if head == section and key:
                value = each.value if isinstance(each.value, str) else override_text(each.value)
                found.setdefault(label, []).append(f"{key}={value}")
        return found

    @cached_property
    def masked(self) -> dict[str, object]:
        """The values with passwords in addresses masked."""
        return {key: mask_values(value) for key, value in self.values.items()}

    @cached_property
    def text(self) -> str:
        """The config as YAML, for records; passwords in addresses are masked."""
        return OmegaConf.to_yaml(OmegaConf.create(self.masked))


def compose(kind: type[C], overrides: Sequence[str] = (), extra: Path | None = None) -> Composed[C]:
    """Compose the config of a command with overrides; `extra` is a folder of the user's own configs, laid out like ours.

    A planner's tuned files become the last of its rules, unless the command line gives its rules.

    Raises UserError, in one sentence, for an override or a file that cannot be read, an unknown key or option, a value that a
    key does not take, and for a tuned file that is not one.
    """
    if extra is not None:
        check_files(extra)
    known = groups(extra)
    given = assignments(overrides, kind)
    choices, changes = _split(given, kind, known)
    origin = Origin(kind, tuple(choices), tuple(changes), extra)
    config = _composed(origin)
    assign(config, changes, kind)
    values = resolved(config, kind)
    _check_chosen(values, changes, kind)
    _check_secrets(values, "")
    forced, ruled = _forced(values, changes)
    values["planners"] = _with_tuned(values.get("planners"), ruled, (CONF, extra) if extra else (CONF,))
    if values["planners"] is None:
        del values["planners"]
    header_faults(values, extra)
    checked = typed(kind, values, lambda key: origin.sources(values.get("planners")).words(key))
    return Composed(checked, forced, values, origin)


def several(group: str, overrides: Sequence[str], kind: type[Config], extra: Path | None) -> tuple[int, list[str]] | None:
    """Position of the override that names several options of a group, and those options; None if there is none.

    Raises UserError for an override that cannot be parsed, an unknown option, or an option given twice.
    """
    for position, each in enumerate(assignments(overrides, kind)):
        if each.key == group and isinstance(each.value, list):
            require(bool(each.value), f"{mask_token(each.word)!r} names no {group}: leave it out or name one.")
            _check_options(group, each.value, groups(extra)[group])
            return position, [str(name) for name in each.value]
    return None


def _split(
    given: Sequence[Assignment], kind: type[Config], known: Mapping[str, tuple[str, ...]]
) -> tuple[list[str], list[Assignment]]:
    """The choices of files, in Hydra's words, and the other assignments. Raises UserError for an unknown option or key."""
    choices: list[str] = []
    changes: list[Assignment] = []
    for each in with_plugins(given, kind, known):
        if each.key in kind.GROUPS and not isinstance(each.value, Mapping) and not each.removed:
            if each.value is None and each.key in _MAY_BE_NULL:
                continue
            _check_options(each.key, each.value, known.get(each.key, ()))
            choices.append(f"{each.key}={override_text(each.value)}")
        elif has_key(kind, each.key) or _is_seed_part(kind, each.key):
            changes.append(each)
        else:
            raise unknown_key(kind, each.given)
    return choices, changes


def _is_seed_part(kind: type[Config], key: str) -> bool:
    """Whether a key is the start or the count of a key of seeds, or pretends to be."""
    first, _, rest = key.partition(".")
    return bool(rest) and first in SEED_KEYS and has_key(kind, first)


def _check_options(group: str, value: object, known: tuple[str, ...]) -> None:
    """Raise UserError unless every option exists and none is given twice."""
    options = value if isinstance(value, list) else [value]
    kind = group.replace("_", " ")
    for option in options:
        if option not in known:
            raise UnknownNameError(kind, option, known)
        require(options.count(option) == 1, f"{kind} {option!r} is given twice: name each once.")


def _arguments(choices: Sequence[str], extra: Path | None) -> list[str]:
    """The choices of files and the user's folder, in Hydra's words."""
    return [*choices, *([] if extra is None else [f"hydra.searchpath=[{override_text(str(extra.resolve()))}]"])]


def _composed(origin: Origin) -> DictConfig:
    """The values that Hydra composes of the files."""
    with initialize_config_dir(str(CONF), version_base=None):
        try:
            return hydra_compose(origin.kind.FILE, _arguments(origin.choices, origin.extra))
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, AssertionError) as error:
            reason = mask_text(" ".join(str(error).split()))[:500].rstrip(".") or "Hydra cannot read its defaults"
            where = "" if origin.extra is None else f" of {str(origin.extra)!r}"
            raise UserError(f"the config cannot be composed ({reason}): correct the header or the defaults{where}.") from error


def _check_chosen(values: Mapping[str, Any], changes: Sequence[Assignment], kind: type[Config]) -> None:
    """Raise UserError for an override of a task or planner that is not chosen: it would have no effect."""
    for each in changes:
        section, _, rest = each.key.partition(".")
        label, entries = rest.partition(".")[0], values.get(section)
        group = section.removesuffix("s")
        if SECTIONS.get(group) != section or group not in kind.GROUPS or not label:
            continue
        if each.removed or not isinstance(entries, Mapping):
            continue
        chosen = [name for name, entry in entries.items() if _is_chosen(entry)]
        which = f"only {', '.join(chosen)}" if chosen else "none"
        require(
            label in chosen,
            f"{mask_token(each.word)!r} changes {group} {label!r}, but {which} is chosen: add it with {group}=.",
        )


def _check_secrets(value: object, key: str) -> None:
    """Raise UserError for a text with a secret of the environment, unless it is an address, in which secrets are masked."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_secrets(item, f"{key}.{name}".lstrip("."))
    for item in value if isinstance(value, list) else ():
        _check_secrets(item, key)
    name = variable_in(value, os.environ) if isinstance(value, str) and "://" not in value else None
    require(name is None, f"{key} holds the secret of the environment variable {name}, and is written to files: give another.")


def _forced(values: Mapping[str, Any], changes: Sequence[Assignment]) -> tuple[dict[str, dict[str, Scalar]], set[str]]:
    """Planner settings that the command line gives, by label, and the planners whose rules it gives."""
    forced: dict[str, dict[str, Scalar]] = {}
    ruled: set[str] = set()
    for each in changes:
        for path in _leaves(each):
            match path:
                case ["planners", label, "settings", name, *_] if not each.removed:
                    forced.setdefault(label, {})[name] = _at(values, ["planners", label, "settings", name])
                case ["planners", label, "overrides", *_]:
                    ruled.add(label)
    return forced, ruled


def _at(value: Any, path: Sequence[str]) -> Any:
    """The value at the end of a path of keys; None where it leads nowhere, which the schema refuses."""
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _leaves(each: Assignment) -> list[list[str]]:
    """The paths of the values that an assignment gives."""
    found: list[list[str]] = []

    def walk(path: list[str], value: object) -> None:
        if isinstance(value, Mapping) and value:
            for name, item in value.items():
                walk([*path, str(name)], item)
        else:
            found.append(path)

    walk(each.key.split("."), each.value)
    return found


def _has_rules(entry: Any) -> bool:
    """Whether an entry is a planner whose rules, if any, can be added to; the schema refuses others."""
    return _is_chosen(entry) and isinstance(entry.get("overrides"), list | None)


def _is_chosen(entry: Any) -> bool:
    """Whether an entry is a task, planner or protocol, and not only changes to one that is not chosen."""
    return isinstance(entry, Mapping) and any(entry.get(key) for key in ("name", "target", "mode"))


def _with_tuned(planners: object, ruled: Collection[str], folders: Sequence[Path]) -> object:
    """The planners with the rules of the tuned files after their own, except for those in `ruled`."""
    if not isinstance(planners, dict):
        return planners
    return {
        label: {**entry, "overrides": [*(entry.get("overrides") or ()), *tuned_rules(label, folders)]}
        if label not in ruled and _has_rules(entry)
        else entry
        for label, entry in planners.items()
    }
