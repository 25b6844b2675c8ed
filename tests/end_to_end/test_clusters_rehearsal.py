"""The rehearsal's own tools: each check finds its fault, and no process is left behind."""

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import rehearsal, rehearsal_checks
from benchmarks.rehearsal_checks import TOLERANCE, each_cell_once, of_one_commit, records, same_results, uploaded
from benchmarks.services import postgresql_programs

ROOT = Path(__file__).parents[2]


def row(cell: str, **changed: object) -> dict[str, object]:
    plain = {"cell_id": cell, "point_id": "p", "seed": 1, "status": "completed", "success": True, "distance": 0.5}
    return {**plain, "git_revision": "c0ffee", "finished_at": 0, **changed}


CELLS = [row("a"), row("b"), row("c")]


def test_cells_that_are_lost_doubled_or_strange_are_found():
    assert list(each_cell_once(CELLS, CELLS)) == []
    (lost,) = each_cell_once(CELLS[:2], CELLS)
    (doubled,) = each_cell_once([*CELLS, CELLS[0]], CELLS)
    (strange,) = each_cell_once([*CELLS, row("d")], CELLS)
    assert ("1 of 3 cells are lost" in lost, "more than once" in doubled, "not part of the sweep" in strange) == (
        True,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, 0),
        ({"distance": 0.5 + TOLERANCE / 2}, 0),
        ({"distance": 0.5 + 2 * TOLERANCE}, 1),
        ({"success": False}, 1),
        ({"status": "failed", "success": None, "distance": None}, 1),
    ],
)
def test_results_that_differ_are_found(change, found):
    assert len(list(same_results([row("a", **change), *CELLS[1:]], CELLS))) == found


def test_records_of_another_commit_are_found():
    assert list(of_one_commit(CELLS, "c0ffee")) == []
    assert len(list(of_one_commit([*CELLS, row("d", git_revision="unknown")], "c0ffee"))) == 1


def test_records_are_read_without_deduplication(tmp_path):
    assert records(tmp_path) == []
    folder = tmp_path / "ledger"
    folder.mkdir()
    for name in ("part-1", "part-2"):
        pq.write_table(pa.Table.from_pylist([row("a")]), folder / f"{name}.parquet")
    assert [found["cell_id"] for found in records(tmp_path)] == ["a", "a"]


def test_an_upload_that_holds_too_much_or_too_little_is_found(tmp_path):
    package = tmp_path / "session_latest/runtime_resources/working_dir_files/_ray_pkg_1"
    assert uploaded(tmp_path).problems
    for name in ("sweeps/cli/main.py", "world_models/zoo/card.json"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text("x" * 1024, encoding="utf-8")
    good = uploaded(tmp_path)
    assert (good.files, good.problems) == (2, ())
    assert good.megabytes == pytest.approx(2 / 1024)
    for name in rehearsal_checks.LEFT_OUT:
        (package / name).mkdir()
        (package / name / "x").write_text("x", encoding="utf-8")
    assert len(uploaded(tmp_path).problems) == len(rehearsal_checks.LEFT_OUT)


def test_no_process_escapes():
    """A daemon that ignores requests to end, and whose parents are gone, is found and ended; so is a whole tree."""
    script = """
        import os, subprocess, sys, time
        from benchmarks.processes import adopt_orphans, descendants, end_descendants, kill_tree, title
        adopt_orphans()
        ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        stubborn = f"import signal, time; {ignore}; print('up', flush=True); time.sleep(600)"
        daemon = ["setsid", "--fork", sys.executable, "-c", stubborn]
        tree = subprocess.Popen(["bash", "-c", "sleep 600 & sleep 600"], start_new_session=True)
        with subprocess.Popen(daemon, stdout=subprocess.PIPE) as started:
            assert started.stdout.readline() == b"up\\n"
            deadline = time.monotonic() + 30
            while len(descendants(tree.pid)) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(descendants(os.getpid())) == 4, [title(process) for process in descendants(os.getpid())]
            kill_tree(tree.pid)
            end_descendants(timeout=0.5)
        assert descendants(os.getpid()) == []
        print("none left")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "none left\n", done.stderr


def test_without_postgresql_one_sentence_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.services.postgresql_programs", lambda: None)
    monkeypatch.setattr("benchmarks.verdict.adopt_orphans", lambda: None)
    monkeypatch.setattr("benchmarks.verdict.end_descendants", lambda: None)
    monkeypatch.setattr("benchmarks.rehearsal.undisturbed", lambda stage: ["true"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert rehearsal.main([]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().err
    assert "PostgreSQL is not installed: apt-get install postgresql" in said
    shutil.rmtree(kept(said))


def kept(said: str) -> Path:
    """The folder that a failed rehearsal leaves behind."""
    return Path(said.split("their logs are in ")[1].split()[0])


@pytest.mark.skipif(postgresql_programs() is None, reason="needs PostgreSQL: apt-get install postgresql")
def test_ctrl_c_ends_everything(tmp_path):
    """Also while a cluster is starting."""
    with (tmp_path / "said").open("wb") as said:
        running = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rehearsal"],
            cwd=ROOT,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while "PostgreSQL answers" not in (tmp_path / "said").read_text(encoding="utf-8"):
            assert running.poll() is None, (tmp_path / "said").read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=120) == 130
    finally:
        if running.poll() is None:
            running.kill()
    words = (tmp_path / "said").read_text(encoding="utf-8")
    assert "rehearsal: stopped" in words
    folder = kept(words)
    assert folder.is_dir()
    named = subprocess.run(["pgrep", "--full", str(folder)], capture_output=True, text=True, check=False).stdout
    assert named == ""
    shutil.rmtree(folder)
