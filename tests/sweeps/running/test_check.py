"""`grasp check`: damage is named, set aside and planned again, and no command shows a number of a damaged part."""

from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from tests.support.small_sweeps import GRID, tiny_model

SWEEP = ("sweep", "--quiet", *GRID, "seeds=2", "artifacts.cells=[]", "backend=inline", "tracking.enabled=false")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_a_damaged_part_is_refused_found_set_aside_and_planned_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sweep = (*SWEEP, f"world_models={tiny_model(tmp_path)}", f"output={tmp_path}")
    assert main([*sweep]) == 0
    outputs = Outputs(tmp_path)
    before = Ledger(outputs.ledger).table(columns=["cell_id", "success"]).sort_by("cell_id")
    assert run(capsys, "check", f"output={tmp_path}")[0] == 0
    (part,) = Path(outputs.ledger).glob("*.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 4
    part.write_bytes(data)
    (outputs.sweep("smoke") / "status.json").write_text("{", encoding="utf-8")
    for words in (("report",), sweep, ("check",)):
        code, said = run(capsys, *words, f"output={tmp_path}")
        assert code == (1 if words == ("check",) else 2)
        assert f"{part.name} is damaged (" in said
        assert "grasp check --set-aside" in said
    assert "status.json" in said
    assert "2 are damaged" in said
    code, said = run(capsys, "check", "--set-aside", f"output={tmp_path}")
    assert code == 1
    assert f"moved 1 damaged parts to {Path(outputs.ledger) / 'quarantine'}" in said
    assert f"sweep smoke lacks {before.num_rows} cells now: run it again" in said
    assert (Path(outputs.ledger) / "quarantine" / part.name).read_bytes() == bytes(data)
    assert f"new      {before.num_rows} cells" in run(capsys, *(word for word in sweep if word != "--quiet"), "--dry-run")[1]
    (outputs.sweep("smoke") / "status.json").unlink()
    code, said = run(capsys, "check", f"output={tmp_path}")
    assert (code, "all are sound" in said) == (0, True)


def test_check_takes_a_folder_that_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, said = run(capsys, "check", f"output={tmp_path / 'none'}")
    assert (code, "there is no folder" in said) == (2, True)
    code, said = run(capsys, "check", "smoke")
    assert (code, "'smoke' is neither a target nor the name of a plug-in" in said) == (2, True)
