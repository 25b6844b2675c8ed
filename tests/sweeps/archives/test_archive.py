"""`grasp export` and `grasp import`: a sweep moves as one file, completely or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import from_table
from sweeps.archives.exporting import export
from sweeps.archives.importing import import_archive
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from sweeps.running.sweep import sweep
from world_models.errors import UnknownNameError, UserError

QUIET = Console(quiet=True)


def test_it_reads_elsewhere_as_it_was(home: Outputs, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(archive), f"output={tmp_path}"]) == 0
    assert "10 of 10 cells are new here" in capsys.readouterr().out
    there = Outputs(tmp_path)
    tables = [Ledger(outputs.ledger).table().sort_by("cell_id") for outputs in (home, there)]
    assert tables[0].equals(tables[1])
    assert there.load("few") == home.load("few")
    assert main(["report", "few", f"output={tmp_path}"]) == 0
    reports = [(outputs.sweep("few") / "report.csv").read_text(encoding="utf-8") for outputs in (home, there)]
    assert reports[0] == reports[1]


def test_a_success_that_did_not_last_reads_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["name=hit", "task=wall", "planner=random_actions", "horizons=[10]", "seeds=[67,80]", "success=first_hit"]
    words += ["mode=mpc:5:5", "backend=inline", "artifacts.cells=[]", "tracking.enabled=false", f"output={tmp_path / 'here'}"]
    assert sweep(words, QUIET) == 0
    cells = Ledger(tmp_path / "here" / "ledger").table().to_pylist()
    assert any(cell["success"] and cell["steps_to_success"] is None for cell in cells)
    assert export("hit", Outputs(tmp_path / "here"), tmp_path / "hit.zip", QUIET) == 0
    assert main(["import", str(tmp_path / "hit.zip"), f"output={tmp_path / 'there'}"]) == 0
    assert "2 of 2 cells are new here" in capsys.readouterr().out


def test_a_second_time_adds_nothing(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(archive), f"output={tmp_path}"]) == 0
    assert main(["import", str(archive), f"output={tmp_path}", "--name", "twice"]) == 0
    assert "0 of 10 cells are new here" in capsys.readouterr().out
    assert set(Outputs(tmp_path).names()) == {"few", "twice"}
    assert Ledger(Outputs(tmp_path).ledger).table().num_rows == 10


def test_it_says_what_made_the_cells(home: Outputs, archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        manifest = json.loads(opened.read("manifest.json"))
        packages = opened.read("environment.txt").decode().splitlines()
    assert (manifest["name"], manifest["cells"], manifest["missing"]) == ("few", 10, 0)
    assert manifest["models"] == [{"name": "wall", "digest": home.load("few").entries[0].point.model_digest}]
    assert any(line.startswith("torch==") for line in packages)


def changed(archive: Path, to: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy with one member changed."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(to, "w") as sink:
        for member in source.infolist():
            data = source.read(member)
            sink.writestr(member.filename, change(data) if member.filename == name else data)
    return to


def test_records_that_are_not_its_own_are_refused_and_nothing_is_kept(home: Outputs, archive: Path, tmp_path: Path) -> None:
    record = from_table(Ledger(home.ledger).table())[0]
    forged = Ledger(tmp_path / "forged")
    with forged.writer():
        forged.append([replace(record, seed=77)])
    (part,) = (tmp_path / "forged").rglob("part-*.parquet")
    with zipfile.ZipFile(archive) as opened:
        (name,) = [member for member in opened.namelist() if member.startswith("ledger/")]
    bad = changed(archive, tmp_path / "bad.zip", name, lambda data: part.read_bytes())
    with pytest.raises(UserError, match="does not belong to its sweep"):
        import_archive(bad, Outputs(tmp_path / "out"), None, QUIET)
    assert not Outputs(tmp_path / "out").names()
    assert Ledger(Outputs(tmp_path / "out").ledger).table().num_rows == 0


def test_names_in_the_archive_stay_below_the_output_folder(archive: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.zip"
    evil.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(evil, "a") as opened:
        opened.writestr("ledger/../../../escaped", b"x")
    inside = tmp_path / "deep" / "er"
    with pytest.raises(UserError):
        import_archive(evil, Outputs(inside), None, QUIET)
    assert not list(tmp_path.rglob("escaped"))


def test_bad_input_is_one_sentence(home: Outputs, archive: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no zip", encoding="utf-8")
    for file in (text, tmp_path / "nowhere.zip"):
        with pytest.raises(UserError, match="cannot be read as an exported sweep"):
            import_archive(file, Outputs(tmp_path / "out"), None, QUIET)
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w") as opened:
        opened.writestr("hello", "")
    with pytest.raises(UserError, match="its member 'hello' is none of an exported sweep"):
        import_archive(empty, Outputs(tmp_path / "out"), None, QUIET)
    newer = changed(archive, tmp_path / "newer.zip", "manifest.json", lambda data: data.replace(b"sweep-1", b"sweep-9"))
    with pytest.raises(UserError, match="'grasp-sweep-9' and this version reads"):
        import_archive(newer, Outputs(tmp_path / "out"), None, QUIET)
    with pytest.raises(UserError, match="already exists"):
        export("few", home, archive, QUIET)
    with pytest.raises(UnknownNameError, match="did you mean 'few'"):
        export("fewer", home, tmp_path / "x.zip", QUIET)
    with pytest.raises(UserError, match="cannot write"):
        export("few", home, tmp_path / "no" / "folder" / "x.zip", QUIET)
    assert main(["import", str(archive), "second.zip"]) == 2


def test_another_grid_of_the_same_name_is_not_replaced(archive: Path, tmp_path: Path) -> None:
    words = ["name=few", "task=wall", "planner=gd", "horizons=[25]", "seeds=2", "planners.gd.settings.iterations=5"]
    assert sweep([*words, "backend=inline", "tracking.enabled=false", f"output={tmp_path}"], QUIET) == 0
    with pytest.raises(UserError, match=r"here with another grid .*give another name with --name"):
        import_archive(archive, Outputs(tmp_path), None, QUIET)
    assert import_archive(archive, Outputs(tmp_path), "theirs", QUIET) == 0
    assert len(Outputs(tmp_path).load("theirs").entries) == 2
