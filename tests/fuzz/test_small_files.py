"""A short run of the fuzzer of small files; a long one is started by hand."""

from pathlib import Path

import pytest

from tests.fuzz.small_files import OFF, REPORT, SMOKE, STATUS, Ended, fuzz, run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of a sweep that was not tracked."""
    folder = tmp_path_factory.mktemp("small") / "out"
    assert run(["sweep", "--quiet", *SMOKE, "artifacts.cells=[]", OFF, f"output={folder}"]).code == 0
    return folder


@pytest.mark.parametrize(("name", "count"), [("sweep", 5), ("status", 5), ("holder", 2)])
def test_no_spoilt_file_ends_in_a_traceback(root: Path, name: str, count: int) -> None:
    assert fuzz(root, name, count, 0, print) == []


def spoilt(root: Path, name: str, content: bytes, *words: str) -> Ended:
    """How a command ends with other content in a file, which is put back afterwards."""
    file = root / name
    sound = file.read_bytes()
    file.write_bytes(content)
    try:
        return run([*words, f"output={root}"])
    finally:
        file.write_bytes(sound)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"", b"[" * 100_000, b'{"name": "smoke", "seeds": [NaN], "entries": []}'])
def test_a_spoilt_sweep_is_named_in_one_sentence(root: Path, content: bytes) -> None:
    ended = spoilt(root, "sweeps/smoke/sweep.json", content, *REPORT)
    assert ended.code == 2
    assert ended.said.startswith(f"grasp: '{root}/sweeps/smoke/sweep.json' is not a sweep saved by this version (")
    assert ended.said.count("\n") == 1


def test_a_saved_sweep_has_the_name_of_its_folder_whatever_the_file_says(root: Path) -> None:
    content = (root / "sweeps/smoke/sweep.json").read_bytes().replace(b'"name":"smoke"', b'"name":"../../evil"')
    before = sorted(root.parent.iterdir())
    assert b"evil" in content
    assert "sweep smoke" in spoilt(root, "sweeps/smoke/sweep.json", content, *STATUS).said
    assert sorted(root.parent.iterdir()) == before


def test_a_spoilt_status_is_named_and_the_ledger_still_asked(root: Path) -> None:
    ended = spoilt(root, "sweeps/smoke/status.json", b'{"sweeps": [], "cells": -1}', *STATUS)
    assert ended.code == 0
    assert "2/2 cells are in the ledger" in ended.said
    assert "status.json' is not a driver's status" in ended.said
