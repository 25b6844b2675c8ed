"""Overrides applied to what Hydra composed, and the values behind interpolations."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.core.messages import mask_text, mask_token
from sweeps.config.overrides import Assignment
from sweeps.config.schema.check import children_of, kind_at, not_a_group, shown
from sweeps.config.schema.configs import Config
from sweeps.config.seeds import SEED_KEYS, with_seeds
from world_models.errors import UserError, require


def assign(config: DictConfig, changes: Sequence[Assignment], kind: type[Config]) -> None:
    """Apply the overrides in their order; seeds are joined with those that the config has. Raises UserError."""
    OmegaConf.set_struct(config, False)
    for each in changes:
        if each.key.partition(".")[0] not in SEED_KEYS:
            _change(config, each, kind)
    for key in SEED_KEYS:
        own = [each for each in changes if each.key.partition(".")[0] == key]
        if own:
            before, given = _plain(config, key), []
            for each in own:
                OmegaConf.update(config, key, each.value, merge=False)
                given.append(replace(each, value=_plain(config, key)))
            OmegaConf.update(config, key, with_seeds(key, before, given), merge=False)


def _plain(config: DictConfig, key: str) -> object:
    """A key's resolved value in plain containers."""
    try:
        found = OmegaConf.select(config, key)
        interpolated = OmegaConf.is_interpolation(config, key)
        plain = OmegaConf.to_container(found, resolve=True) if isinstance(found, Container) else found
    except OmegaConfBaseException as error:
        raise _unresolved(error) from error
    return _read(found) if interpolated and isinstance(found, str) else plain


def _read(text: str) -> object:
    """The value of an interpolated text in Hydra's grammar; a text that it cannot read stays one."""
    try:
        return OverridesParser.create().parse_override(f"value={text}").value()
    except HydraException:
        return text


def _unresolved(error: OmegaConfBaseException) -> UserError:
    sentence = mask_text(" ".join(str(error).partition("full_key:")[0].split())[:300])
    return UserError(f"the config cannot be resolved ({sentence}): fix what stands in ${{...}}.")


def _change(config: DictConfig, each: Assignment, kind: type[Config]) -> None:
    parent, _, last = each.key.rpartition(".")
    try:
        above = OmegaConf.select(config, parent) if parent else config
        if each.removed:
            require(
                isinstance(above, DictConfig) and last in above,
                f"{mask_token(each.word)!r} removes {each.key}, which is not there: leave it out.",
            )
            del above[last]
            return
        require(
            above is None or isinstance(above, DictConfig),
            f"{mask_token(each.word)!r} sets a key of {parent}, which is {shown(above)}: give {parent} as a group of keys.",
        )
        if children_of(kind, each.key) and not isinstance(each.value, Mapping) and "${" not in str(each.value):
            raise not_a_group(kind, each.key, each.value)
        OmegaConf.update(config, each.key, each.value, merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise UserError(f"cannot take {mask_token(each.word)!r} ({' '.join(str(error).split())[:200]}).") from error


def resolved(config: DictConfig, kind: type[Config]) -> dict[str, Any]:
    """The values in plain containers; what an interpolation gives is read by the rules of overrides, unless it is a text.

    Raises UserError for one that leads nowhere.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `${oc.deprecated:key}` warns
            raw, plain = (OmegaConf.to_container(config, resolve=resolve) for resolve in (False, True))
    except OmegaConfBaseException as error:
        raise _unresolved(error) from error
    return cast("dict[str, Any]", _decoded(raw, plain, kind, ""))


def _decoded(raw: object, plain: object, kind: type[Config], key: str) -> object:
    if isinstance(plain, dict):
        before = raw if isinstance(raw, dict) else {}
        return {
            str(name): _decoded(before.get(name), value, kind, f"{key}.{name}".lstrip(".")) for name, value in plain.items()
        }
    if isinstance(plain, list):
        before = raw if isinstance(raw, list) else [None] * len(plain)
        return [_decoded(*pair, kind, key) for pair in zip(before, plain, strict=True)]
    expected = kind_at(kind, key)
    interpolated = isinstance(raw, str) and "${" in raw and isinstance(plain, str)
    return _read(str(plain)) if interpolated and not (expected is not None and expected.text) else plain
