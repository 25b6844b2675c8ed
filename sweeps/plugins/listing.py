"""`grasp plugins`: a user's own and installed plug-ins, and where each comes from; `grasp check TARGET`: its suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.core.messages import visible
from sweeps.config.plugin_names import OURS, admitted, refuse_clash
from sweeps.console.terminal import say, show
from sweeps.plugins.conformance import Asked, Verdict, archive_verdicts, plugin_of, verdicts
from world_models.checkpoints.exported.archive import is_archive
from world_models.errors import UnknownNameError, UserError, require
from world_models.plugins import PLUGINS, Kind


def plugins(console: Console, with_suites: bool) -> int:
    """List the plug-ins of this environment; 1 if a suite was run and a promise is broken."""
    offers = sorted(PLUGINS.listed(), key=lambda offer: (offer.kind.key, offer.name))
    for kind, ours in OURS.items():
        say(console, f"{kind.value}s of grasp-orchestrator: {', '.join(sorted(ours()))}")
    if not offers:
        say(console, "no package that is installed here offers any of its own; docs/extending.md says how one does")
        return 0
    table = Table(title="plug-ins", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("kind", "name", "from", "target", *(("suite",) if with_suites else ())):
        table.add_column(column, no_wrap=True)
    broken = False
    for offer in offers:
        row = [offer.kind.value, offer.name, offer.home, offer.target.text if offer.target else "-"]
        if with_suites:
            word, failed = _suite_word(offer.kind, offer.name)
            row.append(word)
            broken = broken or failed
        table.add_row(*(escape(visible(cell)) for cell in row))
    show(console, table)
    for offer in offers:
        refuse_clash(offer.kind, offer.name)
    return int(broken)


def _suite_word(kind: Kind, name: str) -> tuple[str, bool]:
    """How a plug-in's suite ended, in a few words, and whether a promise is broken."""
    if kind in (Kind.SAMPLER, Kind.DATASET, Kind.ADAPTER):
        return "no suite", False
    try:
        found = list(verdicts(kind, name, Asked({})))
    except UserError as error:
        return f"not tried: {error}"[:80], True
    faults = [each for each in found if each.fault is not None]
    return (f"{len(faults)} of {len(found)} fail" if faults else f"all {len(found)} pass"), bool(faults)


def check_plugin(text: str, settings: Mapping[str, object], console: Console) -> int:
    """Run the suite of a target or of an installed plug-in, and say what is missing; 0 if every promise is kept, else 1."""
    given = dict(settings)
    path = given.pop("path", None)
    kind = _kind(given.pop("kind", None)) or (Kind.DATASET if path is not None else None)
    horizon, observation = _count("horizon", given.pop("horizon", 20)), _optional("observation", given.pop("observation", None))
    asked = Asked(given, horizon, observation, None if path is None else str(path))
    if is_archive(text):
        say(console, f"world model {text}")
        return _printed(archive_verdicts(Path(text), asked), console)
    names = {admitted(each, text, None) for each in ([kind] if kind is not None else list(Kind))}
    found, plugin = plugin_of(kind, text, names.pop())
    say(console, f"{found.value} {plugin.name} of {plugin.home}, code {plugin.code}")
    return _printed(verdicts(found, plugin.name, asked), console)


def _printed(found: Iterable[Verdict], console: Console) -> int:
    kept = broken = 0
    for verdict in found:
        if verdict.fault is None:
            kept += 1
            say(console, f"  holds   {verdict.promise}")
        else:
            broken += 1
            say(console, f"  broken  {verdict.promise}: {verdict.fault}")
    say(console, f"{kept} promises hold, {broken} are broken" if broken else f"all {kept} promises hold")
    return int(broken > 0)


def _kind(raw: object) -> Kind | None:
    if raw is None:
        return None
    known = {kind.key: kind for kind in Kind}
    if raw not in known:
        raise UnknownNameError("kind of plug-in", raw, known)
    return known[str(raw)]


def _count(key: str, raw: object) -> int:
    sound = isinstance(raw, int) and not isinstance(raw, bool) and 0 < raw <= 10_000
    require(sound, f"{key} {raw!r} is not a whole number from 1 to 10000: give e.g. {key}=20.")
    return int(str(raw))


def _optional(key: str, raw: object) -> int | None:
    return None if raw is None else _count(key, raw)
