"""The repositories of a user's own code: of each plug-in that is in one, its revision and what is not committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.provenance import ROOT, git, revision_of
from orchestrator.core.secret_scan import publishable_diff
from world_models.plugins import PLUGINS
from world_models.plugins.registry import Plugin
from world_models.plugins.sources import sources_of

DIFF_LIMIT = 500_000
"""Most characters of a diff that are kept."""


@dataclass(frozen=True)
class Repository:
    """A repository with code that a sweep uses."""

    name: str
    """The name of its folder."""
    revision: str
    """The commit, with `-dirty` if something is not committed; "unknown" before the first one."""
    plugins: tuple[str, ...]
    """Kind, name and code of the plug-ins in it."""
    diff: str

    @property
    def sentence(self) -> str:
        """Its revision and its plug-ins, in a line."""
        return f"revision of {self.name}: {self.revision} ({', '.join(self.plugins)})"


def repositories() -> list[Repository]:
    """The repositories of the plug-ins that this process has imported, other than ours."""
    by_root: dict[Path, list[Plugin]] = {}
    for root, plugin in _with_roots(PLUGINS.found.values()):
        by_root.setdefault(root, []).append(plugin)
    return [_described(root, plugins) for root, plugins in sorted(by_root.items())]


def diff_of(root: Path) -> str:
    """Uncommitted changes of a checkout, without secrets and key files; a sentence if there are none."""
    changes = git(root, "-c", "core.quotepath=off", "diff", "--no-color", "--no-ext-diff", "HEAD")
    if changes is None:
        return "# git could not say what was changed"
    text = changes.decode(errors="replace")
    more = f"\n# cut here: {len(text) - DIFF_LIMIT} characters more" if len(text) > DIFF_LIMIT else ""
    return publishable_diff(text[:DIFF_LIMIT]) + more or "# nothing was changed"


def _with_roots(plugins: Iterable[Plugin]) -> Iterator[tuple[Path, Plugin]]:
    for plugin in plugins:
        offer = PLUGINS.offers.get((plugin.kind, plugin.name))
        if offer is None or offer.target is None:
            continue
        sources = sources_of(offer.target)
        root = None if sources.installed else _root_of(sources.folder)
        if root is not None and root != ROOT:
            yield root, plugin


def _root_of(folder: Path) -> Path | None:
    """The nearest folder above, or this one, that is a checkout."""
    resolved = folder.resolve()
    return next((each for each in (resolved, *resolved.parents) if (each / ".git").exists()), None)


def _described(root: Path, plugins: Iterable[Plugin]) -> Repository:
    named = tuple(sorted(f"{plugin.kind.value} {plugin.name} {plugin.code}" for plugin in plugins))
    return Repository(root.name, revision_of(root), named, diff_of(root))
