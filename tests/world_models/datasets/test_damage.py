"""Damaged, truncated and hostile files are refused in one sentence that names the place, and nothing in them is executed."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.world_models.datasets.made import MAKERS
from tests.world_models.datasets.values import LENGTHS
from world_models.datasets import DatasetError, open_dataset
from world_models.datasets.arrow_writing import ArrowWriter
from world_models.errors import UserError
from world_models.plugins import PLUGINS, Kind
from world_models.plugins.registry import Offer


def read_all(path: Path) -> int:
    data = open_dataset(path)
    return sum(len(data.episode(episode)) for episode in range(len(data.lengths)))


def path_of(folder: Path) -> Path:
    """The file or folder to open in a folder in which a small dataset was made."""
    (made,) = folder.glob("made*")
    described = made / "made.yaml"
    return described if described.is_file() else made


def files_of(path: Path) -> list[Path]:
    """All files of a dataset, the largest first."""
    path = path.parent if path.suffix == ".yaml" else path
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    return sorted(files, key=lambda file: -file.stat().st_size)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_truncated_file_is_refused_or_holds_no_values(kind: str, tmp_path: Path) -> None:
    MAKERS[kind](tmp_path)
    made = path_of(tmp_path)
    digest = open_dataset(made).digest(full=True)
    for number, file in enumerate(files_of(made)):
        whole = file.read_bytes()
        for share in (0.0, 0.3, 0.7, 0.97):
            file.write_bytes(whole[: int(share * len(whole))])
            sentence = refusal_of(made)
            if sentence is None:
                assert number > 0 or share > 0.9, "the largest file has values"
                assert open_dataset(made).digest(full=True) == digest
                continue
            assert tmp_path.name in sentence
            assert "\n" not in sentence
            assert len(sentence) < 600
        file.write_bytes(whole)


@pytest.mark.parametrize("kind", MAKERS)
def test_flipped_bytes_are_refused_or_change_values_only(kind: str, tmp_path: Path) -> None:
    MAKERS[kind](tmp_path)
    made = path_of(tmp_path)
    file = files_of(made)[0]
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(5):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), 20):
            changed[at] ^= 0xFF
        file.write_bytes(changed)
        said = refusal_of(made)
        assert said is None or "\n" not in said


def refusal_of(path: Path) -> str | None:
    """The sentence with which a dataset is refused; None for one that is read."""
    try:
        read_all(path)
    except UserError as error:
        return str(error)
    return None


class Bomb:
    """An object whose unpickling would be noticed."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("executed"),)


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path / "x.npz", **arrays)
    return path / "x.npz"


def objects(path: Path) -> Path:
    return npz(path, actions=np.array([Bomb(), None], object), terminals=np.array([0, 1]))


def zip_bomb(path: Path) -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**23 + 2**20,)})
    with (
        zipfile.ZipFile(path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("actions.npy", "w") as out,
    ):
        out.write(header.getvalue())
        for _ in range(9):
            out.write(bytes(2**23))
    return path / "x.npz"


def wrong_size(path: Path) -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path / "x.npz", "w") as archive:
        archive.writestr("actions.npy", header.getvalue() + bytes(80))
    return path / "x.npz"


def hdf5(path: Path, **arrays: np.ndarray) -> Path:
    import h5py

    with h5py.File(path / "x.h5", "w") as out:
        for name, array in arrays.items():
            out[name] = array
    return path / "x.h5"


def external_link(path: Path) -> Path:
    import h5py

    file = hdf5(path, action=np.zeros((5, 2)), ep_len=np.array([5]))
    with h5py.File(file, "a") as out:
        out["elsewhere"] = h5py.ExternalLink("/etc/hosts", "/")
    return file


def external_storage(path: Path) -> Path:
    import h5py

    file = hdf5(path, ep_len=np.array([5]))
    with h5py.File(file, "a") as out:
        out.create_dataset("action", (5,), "u1", external=[("/etc/hosts", 0, 5)])
    return file


def minari_with(path: Path, **facts: object) -> Path:
    MAKERS["minari"](path)
    file = path / "made" / "data" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))
    return path / "made"


def text(path: Path, content: bytes = b"hello world") -> Path:
    (path / "x.h5").write_bytes(content)
    return path / "x.h5"


def unfinished(path: Path) -> Path:
    from world_models.datasets.recording import column_of_array

    ArrowWriter(path / "x", [column_of_array("action", np.zeros((3, 2)))])
    return path / "x"


def changed_manifest(path: Path, **changes: object) -> Path:
    MAKERS["arrow"](path)
    file = path / "made" / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path / "made"


def without(path: Path, name: str) -> Path:
    MAKERS["arrow"](path)
    (path / "made" / name).unlink()
    return path / "made"


STEP = np.zeros((10, 2), np.float32)
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda path: path / "none", "does not exist"),
    "an empty folder": (lambda path: path, "not a dataset of a known kind.* it holds no files"),
    "a text": (text, r"not a dataset of a known kind .*begins with b'hello wo'"),
    "a pickle": (lambda path: text(path, pickle.dumps(Bomb())), "not a dataset of a known kind"),
    "pickled objects in an npz": (objects, "array 'actions' holds pickled objects, which are never loaded"),
    "a zip bomb": (zip_bomb, "looks like a zip bomb"),
    "an array that claims more than it has": (wrong_size, "8000000000128|has 208 bytes"),
    "an npz without ends": (lambda path: npz(path, actions=STEP), "none of which says where episodes end"),
    "ends that fall": (lambda path: npz(path, actions=STEP, episode_ends=np.array([5, 3])), "episode 1 ends before"),
    "ends beyond the rows": (
        lambda path: npz(path, actions=STEP, episode_ends=np.array([5, 13])),
        "'actions' has 10 rows, and ep",
    ),
    "scattered episodes": (
        lambda path: npz(path, actions=STEP, episode_index=np.array([0, 0, 1, 1, 0, 0, 2, 2, 2, 2])),
        "row 4 goes back to episode 0",
    ),
    "a length below zero": (lambda path: hdf5(path, action=STEP, ep_len=np.array([11, -1])), "episode 1 has the length -1"),
    "a length that is not whole": (
        lambda path: hdf5(path, action=STEP, ep_len=np.array([2.5])),
        "episode 0 has the length 2.5",
    ),
    "lengths of texts": (lambda path: hdf5(path, action=STEP, ep_len=np.array([b"5", b"5"])), "lengths of episodes are"),
    "a column that is short": (
        lambda path: hdf5(path, action=STEP, reward=np.zeros(9), ep_len=np.array([5, 5])),
        "'reward' has 9 rows, and episode 1 ends with row 9",
    ),
    "episodes that overlap": (
        lambda path: hdf5(path, action=STEP, ep_len=np.array([5, 5]), ep_offset=np.array([0, 4])),
        "episodes 0 and 1 share rows",
    ),
    "marks of two lengths": (
        lambda path: hdf5(path, actions=STEP, terminals=np.zeros(10, bool), timeouts=np.zeros(9, bool)),
        "terminals and timeouts have different numbers",
    ),
    "a link to another file": (external_link, "elsewhere leads to another file"),
    "values in another file": (external_storage, "action is kept in another file"),
    "an HDF5 file of something else": (lambda path: hdf5(path, weights=STEP), "not a dataset of a known kind"),
    "Minari's count is wrong": (lambda path: minari_with(path, total_episodes=4), "has 3 episodes, and 4 are expected"),
    "Minari's metadata is not JSON": (
        lambda path: [minari_with(path), (path / "made/data/metadata.json").write_text("{")][0],
        "metadata.json cannot be read",
    ),
    "our form, not finished": (unfinished, "is not finished: run the command that writes it again"),
    "our form, of a later version": (lambda path: changed_manifest(path, version=9), "has version 9 and not 1"),
    "our form, a column too many": (lambda path: changed_manifest(path, columns=[]), "."),
    "our form, rows missing": (lambda path: without(path, "rows-00000.arrow"), "rows-00000.arrow is missing"),
    "our form, lengths missing": (lambda path: without(path, "episodes-00000.arrow"), "episodes-00000.arrow cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_odd_files_are_refused_in_a_sentence(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, pattern = REFUSED[case]
    folder = tmp_path / "data"
    folder.mkdir()
    path = make(folder)
    if case == "our form, a column too many":
        assert open_dataset(path).columns == {}
        return
    with pytest.raises(UserError, match=pattern) as refusal:
        read_all(path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "executed").exists()


def test_rows_of_another_shape_name_their_episode(tmp_path: Path) -> None:
    import h5py

    MAKERS["robomimic"](tmp_path)
    with h5py.File(tmp_path / "made.hdf5", "a") as file:
        del file["data/demo_1/actions"]
        file["data/demo_1/actions"] = np.zeros((LENGTHS[1], 3), np.float32)
    data = open_dataset(tmp_path / "made.hdf5")
    data.episode(0)
    with pytest.raises(DatasetError, match=r"episode 1: column 'actions' is \(5, 3\)"):
        data.episode(1)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["hdf5"](tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"needs h5py, which cannot be imported .*pip install 'grasp-orchestrator\[data\]'"):
        open_dataset(tmp_path / "made.h5")


def test_a_plug_in_reads_a_kind_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from world_models.datasets import from_arrays

    monkeypatch.setattr(PLUGINS, "offers", {})
    monkeypatch.setattr(PLUGINS, "found", {})
    makers = {"mine": lambda path: from_arrays({"action": STEP}, [4, 6]), "bare": lambda path: object()}
    for name, value in makers.items():
        PLUGINS.offer(Offer(Kind.DATASET, name, "this test", None, value))
    assert open_dataset(tmp_path, kind="mine").lengths.tolist() == [4, 6]
    with pytest.raises(UserError, match=r"lacks columns, digest"):
        open_dataset(tmp_path, kind="bare")
    with pytest.raises(UserError, match=r"unknown dataset 'mien': did you mean 'mine'"):
        open_dataset(tmp_path, kind="mien")


def test_a_copied_folder_has_the_same_digest(tmp_path: Path) -> None:
    MAKERS["arrow"](tmp_path)
    shutil.copytree(tmp_path / "made", tmp_path / "copy")
    before = open_dataset(tmp_path / "made").digest()
    assert open_dataset(tmp_path / "copy").digest() == before
    file = tmp_path / "copy" / "rows-00000.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert open_dataset(tmp_path / "copy").digest() != before
