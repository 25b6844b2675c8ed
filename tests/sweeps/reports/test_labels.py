"""Labels from foreign sweeps reach every format as they are: no markup, no formula, no control character is carried out."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.cli.main import main
from sweeps.reports.show import show
from sweeps.reports.tables import csv_text
from tests.support.made_up_review import grid_of, results, written

LABELS = ("[/b]", "$x^{$", "=cmd|' /C calc'!A0", "<b>&amp;", "[red]x", ":smile:")


def test_a_report_shows_any_label_as_it_is(tmp_path: Path) -> None:
    grid = grid_of(2, {"wall": (25,)}, LABELS)
    outputs, ledger = written(grid, tmp_path, results(grid))
    terminal = io.StringIO()
    show(grid, outputs, ledger, Console(file=terminal, width=250))
    folder = outputs.sweep(grid.name)
    text, page = (folder / "report.txt").read_text(), (folder / "report.html").read_text()
    for label in LABELS:
        assert label in text
        assert label in terminal.getvalue()
    assert "<b>&amp;" not in page
    assert "&lt;b&gt;&amp;amp;" in page
    with (folder / "report.csv").open(newline="") as stream:
        planners = [row["planner"] for row in csv.DictReader(stream)]
    assert "'=cmd|' /C calc'!A0" in planners
    assert not [name for name in planners if name.startswith("=")]
    assert list((folder / "figures").glob("*.png"))


@pytest.mark.parametrize("label", ["[/b]", "$x^{$", "", "\\e[31m", "=cmd", "../up", "a b", "-x", "x" * 101])
@pytest.mark.parametrize("kind", ["planner", "task"])
def test_a_label_that_names_no_file_is_refused(
    kind: str, label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep").mkdir()
    body = {"planner": "{name: gd}", "task": "{name: wall, world_model: x, horizons: [10]}"}[kind]
    config = f'# @package _global_\nname: bad\n{kind}s:\n  "{label}": {body}\n'
    (tmp_path / "sweep" / "bad.yaml").write_text(config)
    words = ["sweep", "--dry-run", "--conf", str(tmp_path), "sweep=bad", "task=wall", "planner=gd", f"output={tmp_path / 'o'}"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"{kind} label " in error
    assert "file name" in error
    assert "\x1b" not in error


def test_no_table_for_programs_has_a_formula() -> None:
    text = csv_text(("=a", "b"), [("=cmd|' /C calc'!A0", -1.5), ("@x", "-"), ("-x", None), ("a=b", "+1")])
    assert text == "=a,b\n'=cmd|' /C calc'!A0,-1.5\n'@x,-\n'-x,\na=b,'+1\n"
