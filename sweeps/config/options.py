"""Words that Hydra does not know: plug-ins among a group's options, and settings of the only task or planner.

`planner=grasp,./my_planner.py:Climbing` selects grasp's file and an entry `planners.Climbing` for the plug-in;
`task=gymnasium task.id=Reacher-v5` is short for `tasks.gymnasium.settings.id=Reacher-v5`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.core.messages import mask_token
from sweeps.config.files import SECTIONS
from sweeps.config.overrides import Assignment
from sweeps.config.plugin_names import is_plugin
from sweeps.config.schema.configs import Config
from world_models.errors import UserError, require
from world_models.plugins import Kind, is_target, read_label

KINDS = {"task": Kind.TASK, "planner": Kind.PLANNER}
"""Groups whose options may be plug-ins."""


def with_plugins(given: Sequence[Assignment], kind: type[Config], known: Mapping[str, tuple[str, ...]]) -> Iterator[Assignment]:
    """The assignments, with plug-ins and short keys of settings in the form that files have.

    Raises UserError for two plug-ins of one label, and for a setting of the only one where there are several.
    """
    labels: dict[str, list[str]] = {}
    for each in given:
        group, _, rest = each.key.partition(".")
        if group not in KINDS or group not in kind.GROUPS:
            yield each
        elif rest:
            yield replace(each, key=f"{SECTIONS[group]}.{_only(group, labels.get(group, []), each)}.settings.{rest}")
        else:
            options = [str(option) for option in (each.value if isinstance(each.value, list) else [each.value])]
            own = {option: _label(option) for option in options if _is_own(group, option, known)}
            labels[group] = [own.get(option, option) for option in options]
            yield replace(each, value=[option for option in options if option not in own]) if own else each
            for option, label in own.items():
                sentence = f"two {group}s are called {label!r}: give one of them a config file of its own."
                require(labels[group].count(label) == 1, sentence)
                key = "target" if is_target(option) else "name"
                yield Assignment(each.word, each.given, f"{SECTIONS[group]}.{label}.{key}", option)


def _is_own(group: str, option: str, known: Mapping[str, tuple[str, ...]]) -> bool:
    return option not in known.get(group, ()) and is_plugin(KINDS[group], option)


def _label(option: str) -> str:
    return read_label(option) if is_target(option) else option


def _only(group: str, labels: Sequence[str], each: Assignment) -> str:
    """The label of the only task or planner that the words before have chosen."""
    if len(labels) != 1:
        rest = each.key.partition(".")[2]
        chosen = "several are" if labels else "none is"
        raise UserError(
            f"{mask_token(each.word)!r} sets a setting of the only {group}, and {chosen} chosen before it: "
            f"give {SECTIONS[group]}.NAME.settings.{rest}=VALUE."
        )
    return labels[0]
