"""Opening of a dataset: its kind is found by its content, among ours, or named, which may be a plug-in's."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from world_models.datasets.base import DatasetError, Episodes
from world_models.datasets.places import Place, place_of
from world_models.datasets.refusals import READ_ERRORS, damaged
from world_models.errors import UserError
from world_models.plugins import PLUGINS, Kind, require_members


@dataclass(frozen=True)
class Reader:
    """A kind of dataset that can be read; its module is imported on first use."""

    module: str
    """Module of `world_models.datasets.readers`."""
    opener: str
    """Function of that module that takes a `Place`."""
    described: str
    """The format in a few words."""
    recogniser: str = "recognise"

    def recognises(self, place: Place) -> bool:
        """Whether a place holds this kind, by its content."""
        return bool(self._function(self.recogniser)(place))

    def open(self, place: Place) -> Episodes:
        """The dataset at a place."""
        return self._function(self.opener)(place)

    def _function(self, name: str) -> Callable[[Place], Episodes]:
        return getattr(importlib.import_module(f"world_models.datasets.readers.{self.module}"), name)


READERS: Mapping[str, Reader] = {
    "arrow": Reader("arrow", "open_arrow", "our own form, a folder of mapped Arrow files"),
    "hdf5": Reader("hdf5_flat", "open_flat", "HDF5 with one array per column (stable-worldmodel)", "recognise_lengths"),
    "d4rl": Reader("hdf5_flat", "open_flat", "D4RL's HDF5", "recognise_marks"),
    "minari": Reader("minari", "open_minari", "Minari, in HDF5, Arrow or Parquet"),
    "robomimic": Reader("robomimic", "open_robomimic", "robomimic's HDF5"),
    "lerobot": Reader("lerobot", "open_lerobot", "LeRobot 2.0 to 3.0, Parquet and videos"),
    "zarr": Reader("zarr_folders.groups", "open_zarr", "diffusion policy's zarr"),
    "lance": Reader("lance", "open_lance", "Lance tables (stable-worldmodel)"),
    "dino-wm": Reader("dino_wm", "open_dino_wm", "DINO-WM's folders of tensors and videos"),
    "npz": Reader("npz", "open_npz", "NumPy's npz with one row per step (OGBench)"),
    "folder": Reader("swm_folder", "open_folder", "stable-worldmodel's folders of npz, videos and pictures"),
    "collected": Reader("collected", "open_collected", "trajectories that grasp train collects"),
    "mapping": Reader("plain", "open_plain", "files of one's own, described in YAML", "is_mapping"),
    "parquet": Reader("plain", "open_plain", "Parquet with a number of the episode on each row"),
}
"""Our kinds by name, in the order in which they are tried."""


def open_dataset(path: str | Path, kind: str | None = None) -> Episodes:
    """The dataset at a path, or at an address such as `s3://bucket/folder`.

    `kind` is a name in `READERS`, that of a plug-in, or a plug-in's target; without it, the kind is found by the content. A
    plug-in is called with the path, and returns an object with the members of `Episodes`. Raises UserError, in one sentence,
    for what is not there, of no known kind, or damaged.
    """
    place = place_of(path)
    if kind is not None and kind not in READERS:
        plugin = PLUGINS.demand(Kind.DATASET, kind, READERS)
        try:
            made = plugin.value(place.text)
        except READ_ERRORS as error:
            raise damaged(f"{place.text}, by {kind},", error) from error
        require_members(f"dataset {kind!r} of {plugin.home}", made, Episodes)
        return made
    whole_file = place.is_file
    reader = READERS[kind] if kind is not None else _found(place, whole_file)
    try:
        return reader.open(place)
    except READ_ERRORS as error:
        raise damaged(place.text, error) from error


def kind_of(path: str | Path) -> str | None:
    """The kind of a dataset by its content; None for one that is not known."""
    place = place_of(path)
    for name, reader in READERS.items():
        try:
            if reader.recognises(place):
                return name
        except UserError:
            raise
        except READ_ERRORS as error:
            raise damaged(place.text, error) from error
    return None


def _found(place: Place, whole_file: bool) -> Reader:
    kind = kind_of(place.text)
    if kind is None:
        held = "the file begins with " + repr(_head(place)) if whole_file else _listing(place)
        raise DatasetError(
            f"{place.text} is not a dataset of a known kind ({', '.join(READERS)}): {held}; describe it in a YAML mapping, or "
            "name a plug-in that reads it."
        )
    return READERS[kind]


def _head(place: Place) -> bytes:
    with place.open() as stream:
        return stream.read(8)


def _listing(place: Place) -> str:
    names = [name for name, _ in place.children()]
    return f"it holds {', '.join(sorted(names)[:5]) or 'no files'}{' and more' if len(names) > 5 else ''}"
