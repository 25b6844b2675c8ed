"""The registry of plug-ins of this process: what its user named or registered, and what installed packages offer.

**Trust.** A target is imported only after `admit`, which the door of input calls for what stands in the user's own words and
config files, and workers for what their driver admitted. A name that comes from a record, an archive, a card or a checkpoint
leads to nothing unless it was admitted.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from world_models.errors import UnknownNameError, UserError, require
from world_models.plugins.code import code_of_value
from world_models.plugins.importing import load_target
from world_models.plugins.kinds import Kind
from world_models.plugins.sources import sources_of
from world_models.plugins.targets import Target, is_target, read_target

VERSION = "plugin_version"
"""Attribute with which a plug-in declares the version of its code; without it, the digest of its sources counts."""


@dataclass(frozen=True)
class Plugin:
    """A plug-in that was found."""

    kind: Kind
    name: str
    value: Any
    """The class or function."""
    home: str
    """Where it comes from, in words."""
    code: str
    """Its declared version, or the digest of its sources."""


@dataclass(frozen=True)
class Offer:
    """A plug-in that is known by name and may not be imported yet."""

    kind: Kind
    name: str
    home: str
    target: Target | None = None
    """None for a value that was registered by a decorator in `__main__`."""
    value: Any = None


@dataclass
class Registry:
    """Plug-ins by kind and name."""

    offers: dict[tuple[Kind, str], Offer] = field(default_factory=dict)
    found: dict[tuple[Kind, str], Plugin] = field(default_factory=dict)

    def admit(self, kind: Kind, text: str, folders: tuple[Path, ...] = ()) -> Target:
        """Let a target that the user named be imported; it is called by its `text` from then on.

        Raises UserError for a text that is not a target, a file that is not there, and two files of one name.
        """
        target = read_target(text, folders)
        home = str(target.file) if target.file is not None else f"module {target.module}"
        self.offer(Offer(kind, target.text, home, target))
        return target

    def register(self, kind: Kind, name: str, value: Any) -> None:
        """Give a class or function of the user's own a name, by a decorator in a notebook or a module.

        Raises UserError for a name that another one has.
        """
        module = str(getattr(value, "__module__", "__main__"))
        if module == "__main__":
            self.found.pop((kind, name), None)  # a notebook's cell may be run again
            self.offers.pop((kind, name), None)
            self.offer(Offer(kind, name, "this process", None, value))
            return
        file = getattr(sys.modules.get(module), "__file__", None)
        self.offer(Offer(kind, name, str(file or f"module {module}"), Target(module, str(value.__qualname__))))

    def offer(self, offer: Offer) -> None:
        """Make a plug-in known. Raises UserError for a name that another one has, naming both homes."""
        before = self.offers.get((offer.kind, offer.name))
        if before is not None and before.home != offer.home:
            raise UserError(
                f"two {offer.kind.value}s are called {offer.name!r}, one of {before.home} and one of {offer.home}: rename one."
            )
        self.offers[offer.kind, offer.name] = offer

    def find(self, kind: Kind, name: str) -> Plugin | None:
        """The plug-in of a name, imported now if it was not before; None for a name that nobody offers.

        Raises UserError for one that cannot be imported.
        """
        known = self.found.get((kind, name))
        if known is not None:
            return known
        offer = self.offers.get((kind, name)) or self._installed(kind, name)
        if offer is None:
            return None
        made = _loaded(offer)
        self.found[kind, name] = made
        return made

    def demand(self, kind: Kind, name: str, ours: Iterable[str]) -> Plugin:
        """The plug-in of a name.

        Raises UserError for one that cannot be imported, for a target that the user has not named, and for an unknown name,
        with the nearest among `ours` and the plug-ins'.
        """
        found = self.find(kind, name)
        if found is not None:
            return found
        if is_target(name):
            raise UserError(
                f"{kind.value} {name!r} is code that a record names, which is imported only when you name it: give "
                f"--plugin {name}, with the file's path if it is a file."
            )
        raise UnknownNameError(kind.value, name, {*ours, *self.names(kind)})

    def names(self, kind: Kind) -> list[str]:
        """Names of a kind that can be used, without our own."""
        return sorted({offer.name for offer in self.listed() if offer.kind is kind})

    def listed(self) -> list[Offer]:
        """Every plug-in that is known here, none of them imported for it."""
        installed = [offer for kind in Kind for offer in _entry_points(kind)]
        return [*self.offers.values(), *(offer for offer in installed if (offer.kind, offer.name) not in self.offers)]

    def _installed(self, kind: Kind, name: str) -> Offer | None:
        """The entry point of an installed package. Raises UserError if two packages offer the name."""
        offers = [offer for offer in _entry_points(kind) if offer.name == name]
        for offer in offers:
            self.offer(offer)
        return offers[0] if offers else None


PLUGINS = Registry()
"""The plug-ins of this process."""


def _loaded(offer: Offer) -> Plugin:
    value = offer.value if offer.target is None else load_target(offer.target)
    require(
        callable(value) and not isinstance(value, ModuleType),
        f"{offer.kind.value} {offer.name!r} of {offer.home} is {type(value).__name__}, not a class or a function.",
    )
    declared = inspect.getattr_static(value, VERSION, None)
    if declared is not None:
        code = f"version {declared}"
    else:
        code = code_of_value(value) if offer.target is None else sources_of(offer.target).digest
    return Plugin(offer.kind, offer.name, value, offer.home, code)


@cache
def _entry_points(kind: Kind) -> tuple[Offer, ...]:
    """The entry points of installed packages; looking them up reads a file of every package."""
    return tuple(
        Offer(kind, point.name, f"the installed {_owner(point)}", Target(point.module, point.attr or point.name))
        for point in metadata.entry_points(group=kind.group)
    )


def _owner(point: Any) -> str:  # of importlib.metadata, or of its backport where that is installed
    return point.dist.name if point.dist is not None else "package"
