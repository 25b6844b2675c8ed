"""Single facts of the kinds: frames and rows agree, mappings are checked, no codec executes code, object stores are read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.world_models.datasets.made import MAKERS
from tests.world_models.datasets.values import LENGTHS, values, write_video
from world_models.datasets import DatasetError, Role, open_dataset
from world_models.errors import UserError


def test_frames_are_those_of_sequential_decoding(tmp_path: Path) -> None:
    """Frames that are sought for are to the last bit those of a decoder that began with the first one."""
    import av

    from world_models.datasets.video import Decoders

    file = tmp_path / "x.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (97, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    write_video(file, frames, gop=12)
    with av.open(file) as container:
        truth = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    decoders = Decoders()
    assert decoders.count(str(file)) == 97
    for start, stop in [(0, 97), (5, 9), (96, 97), (11, 13), (12, 13), (13, 40), (40, 41), (41, 60), (0, 1), (50, 50)]:
        assert np.array_equal(decoders.frames(str(file), start, stop), truth[start:stop])
    with pytest.raises(DatasetError, match="has 97 frames, and frame 97 was asked for"):
        decoders.frames(str(file), 90, 98)


@pytest.mark.parametrize("kind", ["lerobot, 2.1", "lerobot, 3.0", "folder, videos", "dino-wm, videos"])
def test_missing_frames_are_found_when_the_dataset_is_opened(kind: str, tmp_path: Path) -> None:
    MAKERS[kind](tmp_path)
    video = sorted(tmp_path.rglob("*.mp4"))[-1]
    write_video(video, values(size=64)[2]["pixels"][:-1])
    with pytest.raises(DatasetError, match=rf"{video.name} has 11 frames, .* 2, have 12 rows"):
        open_dataset(tmp_path / "made")


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    MAKERS["dino-wm, videos"](tmp_path)
    (tmp_path / "made/obses/episode_001.mp4").unlink()
    with pytest.raises(DatasetError, match=r"episode_001\.mp4 is missing"):
        open_dataset(tmp_path / "made")


def test_names_of_elements_and_units_are_kept(tmp_path: Path) -> None:
    MAKERS["lerobot, 3.0"](tmp_path)
    data = open_dataset(tmp_path / "made")
    assert data.columns["action"].features == ("x", "y")
    assert data.columns["observation.state"].features == ("a", "b", "c", "d")
    assert data.facts["fps"] == 10
    (tmp_path / "other").mkdir()
    MAKERS["mapping"](tmp_path / "other")
    mapped = open_dataset(tmp_path / "other/made/made.yaml")
    assert (mapped.columns["action"].unit, mapped.columns["pose"].role) == ("N", Role.STATE)


def test_lerobot_paths_cannot_leave_the_folder(tmp_path: Path) -> None:
    MAKERS["lerobot, 2.1"](tmp_path)
    file = tmp_path / "made/meta/info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "video_path": "../../{video_key}.mp4"}))
    with pytest.raises(UserError, match="leads out of the folder"):
        open_dataset(tmp_path / "made")


def test_a_later_version_of_lerobot_is_refused(tmp_path: Path) -> None:
    MAKERS["lerobot, 2.1"](tmp_path)
    file = tmp_path / "made/meta/info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "codebase_version": "v4.0"}))
    with pytest.raises(DatasetError, match=r"has version v4.0: 2.0, 2.1 and 3.0 are read"):
        open_dataset(tmp_path / "made")


def test_a_pickle_codec_of_zarr_is_never_run(tmp_path: Path) -> None:
    MAKERS["zarr, 2"](tmp_path)
    header = tmp_path / "made/data/action/.zarray"
    changed = {**json.loads(header.read_text()), "dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]}
    header.write_text(json.dumps(changed))
    data = open_dataset(tmp_path / "made")
    assert "action" not in data.columns
    assert data.notes == ("Array 'action' does not hold numbers and is left out.",)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("executed"),)


def test_lengths_of_dino_wm_are_read_without_executing_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MAKERS["dino-wm, videos"](tmp_path)
    (tmp_path / "made/seq_lengths.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"seq_lengths\.pkl"):
        open_dataset(tmp_path / "made")
    assert not (tmp_path / "executed").exists()
    (tmp_path / "made/seq_lengths.pkl").write_bytes(pickle.dumps([3, 99, 5]))
    with pytest.raises(DatasetError, match="not a list of 3 lengths of at most 12"):
        open_dataset(tmp_path / "made")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1, 2]", "is not a mapping of files, episodes, columns"),
        ("files: act.npy", "does not say where episodes end"),
        ("fils: act.npy", "unknown key of .* 'fils': did you mean 'files'"),
        ("files: none.npy", "no file below .* fits none.npy"),
        ("files: act.npy\nepisodes: {length: 7}", "24 rows are not episodes of 7 rows"),
        ("files: act.npy\nepisodes: {ends: no}", "unknown column of the files"),
        ("files: act.npy\nepisodes: {at: 3}", "give one of ids, ends, lengths, dones, length"),
        ("files: act.npy\nepisodes: {length: 8}\ncolumns: {a: {from: atc}}", "'atc': did you mean 'act'"),
        ("files: act.npy\nepisodes: {length: 8}\ncolumns: {a: {from: act, role: acton}}", "'acton': did you mean 'action'"),
        ("files: act.npy\nepisodes: {length: 8}\ncolumns: {a: {from: act, features: [x]}}", "values and 1 features"),
        ("files: act.npy\nepisodes: {length: 8}\ncolumns: {a: 3}", "give e.g."),
        ("files: ../act.npy\nepisodes: {length: 8}", "no file below"),
    ],
)
def test_mappings_that_do_not_fit_are_refused(text: str, sentence: str, tmp_path: Path) -> None:
    MAKERS["mapping"](tmp_path)
    (tmp_path / "made/made.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence) as refusal:
        open_dataset(tmp_path / "made/made.yaml")
    assert "\n" not in str(refusal.value)


def test_a_mapping_of_even_episodes(tmp_path: Path) -> None:
    MAKERS["mapping"](tmp_path)
    (tmp_path / "made/made.yaml").write_text("files: act.npy\nepisodes: {length: 8}\ncolumns: {a: {from: act, role: action}}")
    data = open_dataset(tmp_path / "made/made.yaml")
    assert data.lengths.tolist() == [8, 8, 8]
    assert data.columns["a"].transition


def test_npy_files_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MAKERS["mapping"](tmp_path)
    np.save(tmp_path / "made/act.npy", np.array([Bomb()], object))
    with pytest.raises(UserError, match=r"act\.npy cannot be read"):
        open_dataset(tmp_path / "made/made.yaml")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_an_object_store_is_read_as_a_disk_is(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file system of Arrow's; here the one that it keeps for tests, behind an address."""
    from pyarrow import fs

    from world_models.datasets import places

    MAKERS[kind](tmp_path)
    real = places._opened

    def opened(text: str) -> tuple[fs.FileSystem, str]:
        if text.startswith("mock://"):
            return fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), text.removeprefix("mock://")
        return real(text)

    monkeypatch.setattr(places, "_opened", opened)
    there, here = open_dataset("mock://made"), open_dataset(tmp_path / "made")
    assert there.digest() == here.digest()
    assert there.digest(full=True) == here.digest(full=True)
    assert there.lengths.tolist() == list(LENGTHS)


def test_a_connection_that_drops_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from world_models.datasets.places import Place
    from world_models.datasets.readers import arrow

    MAKERS["arrow"](tmp_path)
    place = Place(str(tmp_path / "made"))
    held = arrow.MappedBatches(place, arrow.read_manifest(place, arrow.MANIFEST))
    truth, falls = held.arrays(0), [0]
    monkeypatch.setattr(Place, "local", None)
    mapped = Place.mapped

    def drops(self: Place, name: str = "") -> object:
        falls[0] += 1
        if falls[0] < 3:
            raise OSError("connection reset")
        return mapped(self, name)

    monkeypatch.setattr(Place, "mapped", drops)
    again = arrow.MappedBatches(place, arrow.read_manifest(place, arrow.MANIFEST))
    assert all(np.array_equal(a, b) for a, b in zip(again.arrays(0), truth, strict=True))
    falls[0] = -100
    with pytest.raises(DatasetError, match=r"record batch 0 cannot be read .*connection reset"):
        arrow.MappedBatches(place, arrow.read_manifest(place, arrow.MANIFEST)).arrays(0)


@pytest.mark.parametrize("address", ["nope://x", "http://x/y"])
def test_addresses_that_cannot_be_read_are_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"is not an address that can be read"):
        open_dataset(address)


def test_only_arrow_and_parquet_are_read_from_an_address() -> None:
    from world_models.datasets.places import Place
    from world_models.datasets.readers.npz import open_npz

    with pytest.raises(UserError, match="a dataset of the kind npz is read from a disk"):
        open_npz(Place("s3://bucket/x.npz"))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "u1", "<i8"])
@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_mapped_chunks_hold_what_hdf5_reads(dtype: str, chunk: int, tmp_path: Path) -> None:
    import h5py

    from world_models.datasets.readers.hdf5_chunks import ChunkedArray

    truth = np.random.default_rng(0).integers(0, 99, (53, 2, 3)).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        for name in ("a", "b"):  # their chunks lie between each other
            file.create_dataset(name, (0, 2, 3), dtype, maxshape=(None, 2, 3), chunks=(chunk, 2, 3))
        for begin in range(0, 53, 10):
            for name in ("a", "b"):
                file[name].resize(min(begin + 10, 53), axis=0)
                file[name][begin:] = truth[begin : begin + 10]
    with h5py.File(tmp_path / "x.h5", "r") as file:
        array = ChunkedArray(file["b"], tmp_path / "x.h5")
        for _ in range(2):
            for begin, end in [(0, 53), (3, 3), (8, 12), (52, 53), (10, 20), (0, 1)]:
                assert np.array_equal(array[begin:end], truth[begin:end])
        assert array._mapped is not None


def test_compressed_or_missing_chunks_are_left_to_hdf5(tmp_path: Path) -> None:
    import h5py

    from world_models.datasets.readers.hdf5_chunks import ChunkedArray

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("packed", data=np.arange(40.0), chunks=(1,), compression="gzip")
        file.create_dataset("partly", (40,), "f4", chunks=(1,))[:20] = 1
    with h5py.File(tmp_path / "x.h5", "r") as file:
        for name in ("packed", "partly"):
            array = ChunkedArray(file[name], tmp_path / "x.h5")
            for _ in range(3):
                assert np.array_equal(array[5:30], file[name][5:30])
            assert array._mapped is None
