"""Where each value of a config came from: a file, an override, a tuned file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from orchestrator.core.messages import mask_token
from sweeps.config.files import CONF
from sweeps.config.overrides import Assignment
from world_models.files.names import inside
from world_models.files.yaml_reading import load_yaml


@dataclass(frozen=True)
class Sources:
    """The source of each value, by its dotted key."""

    files: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)

    def of(self, key: str) -> str:
        """The override or file that a key's value comes from, or that of the group that it belongs to; empty if unknown."""
        for found in (self.overrides, self.files):
            parts = key.split(".")
            while parts:
                if (source := found.get(".".join(parts))) is not None:
                    return source
                parts.pop()
        return ""

    def words(self, key: str) -> str:
        """The same for the end of a sentence; nothing for an override, which the user has just typed."""
        source = self.of(key)
        return f" in {source}" if source and not source.startswith("override ") else ""

    def with_overrides(self, given: Sequence[Assignment]) -> Sources:
        """These sources with the overrides of the command line."""
        return Sources(self.files, {**self.overrides, **{each.key: f"override {mask_token(each.word)}" for each in given}})

    def with_tuned(self, planners: object) -> Sources:
        """These sources with the tuned files among the planners' rules."""
        found = {}
        for label, entry in planners.items() if isinstance(planners, Mapping) else ():
            rules = entry.get("overrides") if isinstance(entry, Mapping) else None
            for position, rule in enumerate(rules if isinstance(rules, list) else ()):
                if isinstance(rule, Mapping) and rule.get("source"):
                    found[f"planners.{label}.overrides.{position}"] = f"tuned file {rule['source']}"
        return Sources({**self.files, **found}, self.overrides)


def file_sources(config: str, arguments: Sequence[str], extra: Path | None) -> Sources:
    """The files of the values that Hydra composes, while Hydra is initialised: the last file that holds a key wins."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    found: dict[str, str] = {}
    for each in hydra.config_loader.compute_defaults_list(config, list(arguments), RunMode.RUN).defaults:
        file = _file(str(each.config_path), extra)
        if file is None:
            continue
        prefix = f"{each.package}." if each.package else ""
        body = load_yaml(file, "config")
        shown = f"conf/{file.relative_to(CONF).as_posix()}" if file.is_relative_to(CONF) else str(file)
        found.update({f"{prefix}{key}": shown for key in _keys(body)})
    return Sources(found)


def _file(path: str, extra: Path | None) -> Path | None:
    for folder in (CONF, extra) if extra else (CONF,):
        if (file := inside(folder, f"{path.removesuffix('.yaml')}.yaml")).is_file():
            return file
    return None


def _keys(body: object, prefix: str = "") -> Iterator[str]:
    for name, value in body.items() if isinstance(body, dict) else ():
        if isinstance(value, dict) and value:
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
