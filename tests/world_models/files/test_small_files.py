"""Names that become files, the join that stays below a folder, the atomic writer and the checked reader."""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from world_models.errors import UserError
from world_models.files.names import LONGEST, file_name, inside
from world_models.files.reading import SpoiltFileError, read_json, read_or_set_aside, set_aside, to_json
from world_models.files.writing import WriteError, whole_file, write_file


@dataclass(frozen=True)
class Told:
    name: str
    counts: tuple[int, ...] = ()


@pytest.mark.parametrize("name", ["", ".", "..", "../evil", "a/b", "-rf", ".hidden", "a b", "a\0", "x" * 300, "ü" * 80, "a\n"])
def test_a_name_that_leads_elsewhere_or_fits_no_file_system_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^sweep name .*(use letters|at most 100)"):
        file_name("sweep name", name)


@pytest.mark.parametrize("name", ["2025_11_29", "1e5", "true", "墙", "a.b-c_d", "_x", "x" * LONGEST])
def test_a_sound_name_stays_as_it_is(name: str) -> None:
    assert file_name("sweep name", name) == name


@given(st.text())
def test_inside_never_leads_out(name: str) -> None:
    root = Path("/tmp/root")
    try:
        found = inside(root, name)
    except UserError:
        return
    assert root in Path(os.path.normpath(found)).parents or os.path.normpath(found) == str(root)


@given(st.text(min_size=1))
def test_whatever_passes_the_rule_stays_one_name_below_the_folder(name: str) -> None:
    try:
        file_name("name", name)
    except UserError:
        return
    assert Path(os.path.normpath(inside(Path("/r"), name))).parent == Path("/r")


def test_written_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "told.json"
    write_file(file, to_json(Told("ü", (1, 2))), durable=True)
    assert read_json(file, Told, "a test's file", "write it again") == Told("ü", (1, 2))
    assert [found.name for found in file.parent.iterdir()] == ["told.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "told.json"
    write_file(file, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"No space left on device\): free some space"):
        write_file(file, "new", durable=True)
    assert [found.name for found in tmp_path.iterdir()] == ["told.json"]
    assert file.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"name": 1}',
        b'{"name": "a", "counts": ["1"]}',
        b"[" * 100_000,
        b'{"counts": []}',
        b"\0" * 40,
    ],
)
def test_a_spoilt_file_is_named_and_set_aside(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "told.json"
    file.write_bytes(data)
    with pytest.raises(SpoiltFileError, match=r"told.json' is not a test's file \(.*: write it again"):
        read_json(file, Told, "a test's file", "write it again")
    assert set_aside(file).name == "told.json.spoilt-1"
    file.write_bytes(data)
    assert set_aside(file).name == "told.json.spoilt-2"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "told.json"
    file.write_bytes(b" " * 1000 + b"{}")
    with pytest.raises(SpoiltFileError, match="more than 100 bytes"):
        read_json(file, Told, "a test's file", "write it again", max_bytes=100)


def test_bytes_that_are_no_text_are_written_as_question_marks(tmp_path: Path) -> None:
    file = tmp_path / "told.json"
    write_file(file, to_json(Told(os.fsdecode(b"caf\xe9 \xe5\xa2\x99"), (1,))))
    assert read_json(file, Told, "a test's file", "write it again") == Told("caf? 墙", (1,))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b'{"name": 1}', b'{"name": "a", "counts": [1.5]}'])
def test_a_spoilt_file_that_can_be_made_again_is_set_aside(content: bytes, tmp_path: Path, caplog) -> None:
    file = tmp_path / "told.json"
    assert read_or_set_aside(file, Told, "a test's file") is None
    file.write_bytes(content)
    assert read_or_set_aside(file, Told, "a test's file") is None
    assert (tmp_path / "told.json.spoilt-1").read_bytes() == content
    assert not file.exists()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"'{file}' is not a test's file (")
    assert record.getMessage().endswith("it is made again. The old one is now told.json.spoilt-1.")


def test_a_library_that_fails_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "told.json"
    write_file(file, "old")
    with suppress(RuntimeError), whole_file(file) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert [each.name for each in tmp_path.iterdir()] == ["told.json"]
    assert file.read_text(encoding="utf-8") == "old"
