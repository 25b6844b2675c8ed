"""`grasp tune apply`: rounded settings where they succeed alike, for a new planner and for one that is there."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from orchestrator.core.cell import Point
from orchestrator.ledger.ledger import Ledger
from sweeps.cli.main import main
from sweeps.config.compose import compose
from sweeps.config.grid import spec_of
from sweeps.config.jobs import lookups
from sweeps.config.schema.configs import SweepConfig
from sweeps.tuning.spec import StudySpec, read_study
from tests.support.small_sweeps import ledger_rows, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


def words(model, folder) -> list[str]:
    """A study that a trial wins for certain: those of few iterations need the fewest evaluations."""
    return [
        *("task=wall", "planner=gd", "horizons=[10]", "name=cheap", "objectives=[evaluations]", "trials=8", "parallel=3"),
        *("seeds.count=4", "choice_seeds.count=4", "held_out.count=4", "top=1", "pruning.enabled=false"),
        *(
            "space.iterations.low=2",
            "space.iterations.high=20",
            "planners.gd.settings.attempts=1",
            "backend=inline",
            "tracking.enabled=false",
        ),
        *(f"world_model={model}", f"output={folder}"),
    ]


@pytest.fixture(scope="module")
def ended(model, tmp_path_factory):
    """The study at its end: its output folder and spec."""
    folder = tmp_path_factory.mktemp("study")
    assert main(["tune", *words(model, folder)]) == 0
    return folder, read_study(words(model, folder), None)


def winner_of(folder) -> dict:
    return json.loads((folder / "studies" / "cheap" / "winner.json").read_text(encoding="utf-8"))["candidates"][0]


def point_of(model, conf, planner: str) -> Point:
    """The point that a sweep with the user's configs plans."""
    asked = ["task=wall", f"planner=[{planner}]", "horizons=[10]", f"world_model={model}"]
    (entry,) = spec_of(compose(SweepConfig, asked, conf), conf).expand(lookups()).entries
    return entry.point


def judged_point(spec: StudySpec, settings: dict) -> Point:
    (point,) = spec.points(settings)
    return point


def test_the_rounded_winner_is_judged_on_the_held_out_seeds_beside_the_winner(ended):
    folder, spec = ended
    winner = winner_of(folder)
    rounded = winner["rounded"]
    assert rounded["digits"] == 3
    for name, value in winner["settings"].items():
        assert rounded["settings"][name] == (float(f"{value:.3g}") if isinstance(value, float) else value)
    assert rounded["settings"] != winner["settings"]
    assert rounded["held_out"]["n"] == rounded["versus_unrounded"]["pairs"] == 4
    seeds = Ledger(folder / "ledger").finished_seeds()
    found = seeds[judged_point(spec, rounded["settings"]).point_id]
    assert sorted(map(int, found)) == list(spec.seed_split.held_out)
    assert "Rounded to 3 digits they succeed alike" in (folder / "studies" / "cheap" / "report.txt").read_text(encoding="utf-8")


def test_a_study_that_has_judged_its_rounded_winner_plans_nothing_again(ended, model):
    folder, _ = ended
    before = ledger_rows(folder)
    assert main(["tune", *words(model, folder)]) == 0
    assert ledger_rows(folder) == before


@pytest.mark.parametrize("planner", ["mine", "gd"])
def test_what_is_applied_is_what_was_judged_with_three_digits(planner, ended, model, tmp_path):
    folder, spec = ended
    assert main(["tune", "apply", "cheap", "--name", planner, "--conf", str(tmp_path), f"output={folder}"]) == 0
    rounded = winner_of(folder)["rounded"]
    assert point_of(model, tmp_path, planner).point_id == judged_point(spec, rounded["settings"]).point_id
    # A planner that is there keeps its own file; a new one gets a file that a person can edit.
    assert (tmp_path / "planner" / f"{planner}.yaml").exists() == (planner == "mine")
    said = yaml.safe_load((tmp_path / "tuned" / planner / "wall-10.yaml").read_text(encoding="utf-8"))["provenance"]
    assert said["held_out_success"] == said["rounding"]["rounded_success"]
    assert said["rounding"]["taken"] is True
    assert said["rounding"]["unrounded_success"] == winner_of(folder)["held_out"]["success"]


def test_another_studys_winner_goes_beside_the_first(ended, tmp_path, capsys):
    folder, _ = ended
    shutil.copytree(folder / "studies" / "cheap", tmp_path / "out" / "studies" / "later")
    file = tmp_path / "out" / "studies" / "later" / "winner.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    report["study"], report["places"][0]["horizon"] = "later", 20
    file.write_text(json.dumps(report), encoding="utf-8")
    conf = str(tmp_path / "conf")
    assert main(["tune", "apply", "cheap", "--name", "mine", "--conf", conf, f"output={folder}"]) == 0
    assert main(["tune", "apply", "later", "--name", "mine", "--conf", conf, f"output={tmp_path / 'out'}"]) == 0
    assert sorted(each.name for each in (tmp_path / "conf" / "tuned" / "mine").iterdir()) == ["wall-10.yaml", "wall-20.yaml"]
    capsys.readouterr()
    assert main(["tune", "apply", "cheap", "--name", "mine", "--conf", conf, f"output={folder}"]) == 2
    assert "wall-10.yaml exists already" in capsys.readouterr().err


def test_a_study_without_a_judged_trial_is_refused(ended, tmp_path, capsys):
    folder, _ = ended
    shutil.copytree(folder / "studies", tmp_path / "out" / "studies")
    file = tmp_path / "out" / "studies" / "cheap" / "winner.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    report["candidates"] = [{**report["candidates"][0], "trial": None}]
    file.write_text(json.dumps(report), encoding="utf-8")
    assert main(["tune", "apply", "cheap", "--conf", str(tmp_path / "conf"), f"output={tmp_path / 'out'}"]) == 2
    assert "study cheap has no trial that was judged on held-out problems: run grasp tune again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rounded", "said"),
    [
        ("worse", "All digits are kept: rounded to 3 they succeed less often (0.25 against 1.00 on held-out seeds, p 0.01;"),
        ("absent", "All digits are kept, because grasp tune did not judge rounded settings."),
    ],
)
def test_digits_are_kept_where_rounding_costs_success_or_was_not_judged(rounded, said, ended, model, tmp_path, capsys):
    folder, spec = ended
    shutil.copytree(folder / "studies", tmp_path / "out" / "studies")
    file = tmp_path / "out" / "studies" / "cheap" / "winner.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    winner = report["candidates"][0]
    if rounded == "worse":
        winner["held_out"]["success"] = 1.0
        winner["rounded"]["held_out"]["success"] = 0.25
        winner["rounded"] |= {"alike": False, "p_value": 0.01}
    else:
        del winner["rounded"]  # a study of an earlier version
    file.write_text(json.dumps(report), encoding="utf-8")
    conf = tmp_path / "conf"
    assert main(["tune", "apply", "cheap", "--name", "mine", "--conf", str(conf), f"output={tmp_path / 'out'}"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    assert point_of(model, conf, "mine").point_id == judged_point(spec, winner["settings"]).point_id
    provenance = yaml.safe_load((conf / "tuned" / "mine" / "wall-10.yaml").read_text(encoding="utf-8"))["provenance"]
    assert provenance["held_out_success"] == winner["held_out"]["success"]
    assert provenance.get("rounding", {}).get("taken") == (False if rounded == "worse" else None)
