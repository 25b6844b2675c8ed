"""Plug-ins on their way to a worker: the user's files travel along, installed packages are expected to be there.

A class of a notebook's cell travels by value, within the message that starts a worker, and is never stored.
"""

from __future__ import annotations

import atexit
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from world_models.errors import UserError
from world_models.files.names import inside
from world_models.plugins.importing import add_folder
from world_models.plugins.registry import Offer, Registry
from world_models.plugins.sources import Sources, sources_of


@dataclass(frozen=True)
class Parcel:
    """A plug-in with the code that it must have, and the files to make it of where they are missing."""

    offer: Offer
    code: str
    folder: Path
    """The folder of the files on the sender's machine, which a worker may see too."""
    files: Mapping[str, bytes]
    """Contents by relative path; none for what is installed, and for what travels by value."""


def pack(registry: Registry) -> tuple[Parcel, ...]:
    """The plug-ins that the user has named or registered, ready to travel.

    Raises UserError for one that cannot be imported, or has too many bytes.
    """
    return tuple(_parcel(registry, offer) for offer in registry.offers.values())


def unpack(parcels: tuple[Parcel, ...], registry: Registry) -> None:
    """Make plug-ins known in this process, a worker's, and import them.

    Raises UserError for one that is missing here, and for one whose code is another.
    """
    for parcel in parcels:
        registry.offer(_placed(parcel))
    for parcel in parcels:
        offer = parcel.offer
        try:
            found = registry.find(offer.kind, offer.name)
        except UserError as error:
            raise UserError(f"on {socket.gethostname()}, {error}") from error
        if found is None or found.code != parcel.code:
            raise UserError(
                f"{offer.kind.value} {offer.name!r} has code {found and found.code} on {socket.gethostname()}, and "
                f"{parcel.code} where the driver runs: install the same version on every node."
            )


def _parcel(registry: Registry, offer: Offer) -> Parcel:
    found = registry.find(offer.kind, offer.name)
    assert found is not None  # it is among the offers
    sources = None if offer.target is None else sources_of(offer.target)
    if sources is None or sources.installed:
        return Parcel(offer, found.code, Path(), {})
    return Parcel(offer, found.code, sources.folder, sources.contents())


def _placed(parcel: Parcel) -> Offer:
    """The offer with its files in a folder of this machine: the sender's if it is here and the same, else a new one."""
    offer, files = parcel.offer, parcel.files
    if not files or offer.target is None:
        return offer
    here = Sources(parcel.folder, tuple(sorted(Path(name) for name in files)), installed=False)
    folder = parcel.folder if _is_same(here, files) else _written(files)
    add_folder(folder)
    file = offer.target.file
    return offer if file is None else replace(offer, target=replace(offer.target, file=folder / file.name))


def _is_same(here: Sources, files: Mapping[str, bytes]) -> bool:
    try:
        return all((here.folder / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _written(files: Mapping[str, bytes]) -> Path:
    """A new folder with the files, which is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="grasp-plugins-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in files.items():
        file = inside(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder
