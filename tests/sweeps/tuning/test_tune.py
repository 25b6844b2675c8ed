"""`grasp tune` as a user types it: a study, its report, its winner as a config, and what is refused in one sentence."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request

import pytest
import yaml
from rich.console import Console

from benchmarks.services import free_port
from orchestrator.ledger.ledger import Ledger
from orchestrator.tuning.trials import State
from sweeps.cli.main import main
from sweeps.config.compose import compose
from sweeps.config.grid import spec_of
from sweeps.config.schema.configs import SweepConfig
from sweeps.tuning.spec import read_study
from sweeps.tuning.study_run import StudyRun
from sweeps.ui.servers import show_studies
from tests.support.small_sweeps import ROOT, grasp_command, tiny_model

QUICK = (
    "task=wall",
    "planner=gd",
    "horizons=[10]",
    "trials=8",
    "parallel=3",
    "seeds.count=8",
    "choice_seeds.count=6",
    "held_out.count=6",
    "top=2",
    "space.iterations.low=2",
    "space.iterations.high=6",
    "pruning.warm_up=4",
    "pruning.chunk=4",
    "planners.gd.settings.attempts=1",
    "backend=inline",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


def words(model, folder, *more: str) -> list[str]:
    return ["tune", *QUICK, f"world_model={model}", f"output={folder}", *more]


@pytest.fixture(scope="module")
def ended(model, tmp_path_factory):
    """A study that has run to its end, with its overrides."""
    folder = tmp_path_factory.mktemp("study")
    asked = words(model, folder, "name=quick")
    assert main(asked) == 0
    return folder, asked


def test_a_study_leaves_its_report_its_pictures_and_its_winner(ended):
    folder, _ = ended
    study = folder / "studies" / "quick"
    found = {file.name for file in study.iterdir()}
    assert {"report.txt", "winner.json", "held_out.json", "config.yaml", "history.png", "parallel.png"} <= found
    report = (study / "report.txt").read_text(encoding="utf-8")
    assert "held out [95 %], n 6" in report
    assert "default" in report
    winner = json.loads((study / "winner.json").read_text(encoding="utf-8"))
    assert winner["held_out_seeds"] == "2000..2005"
    assert {candidate["trial"] for candidate in winner["candidates"]} >= {None}
    table = json.loads((study / "held_out.json").read_text(encoding="utf-8"))
    assert {len(row) for row in table["data"]} == {len(table["columns"])}
    assert len(set(table["columns"])) == len(table["columns"])
    # Every candidate, the default among them, was judged on both sets of fresh seeds.
    for candidate in winner["candidates"]:
        assert candidate["choice"]["n"] == candidate["held_out"]["n"] == 6
        assert (candidate["versus_default"] is None) == (candidate["trial"] is None)


def test_a_study_that_has_ended_plans_nothing_again(ended, capsys):
    folder, asked = ended
    before = Ledger(folder / "ledger").table(columns=["cell_id"]).num_rows
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "study quick: all 8 trials have ended" in said
    assert Ledger(folder / "ledger").table(columns=["cell_id"]).num_rows == before


def test_a_study_goes_on_to_a_larger_total(model, tmp_path):
    assert main(words(model, tmp_path, "tracking.enabled=false")) == 0
    assert main(words(model, tmp_path, "tracking.enabled=false", "trials=11")) == 0
    spec = read_study(words(model, tmp_path, "trials=11")[1:], None)
    views = StudyRun(spec, Console()).study.views()  # pyright: ignore[reportArgumentType]
    assert [view.number for view in views] == list(range(11))
    assert {view.state for view in views} <= {State.COMPLETE, State.PRUNED}


def test_the_winner_is_a_config_that_a_sweep_takes(ended, tmp_path, model):
    folder, _ = ended
    winner = json.loads((folder / "studies" / "quick" / "winner.json").read_text(encoding="utf-8"))
    trial = next(candidate for candidate in winner["candidates"] if candidate["trial"] is not None)
    number = str(trial["trial"])
    arguments = ["tune", "apply", "quick", "--name", "mine", "--conf", str(tmp_path), f"output={folder}", "--trial", number]
    assert main(arguments) == 0
    said = yaml.safe_load((tmp_path / "tuned" / "mine" / "wall-10.yaml").read_text(encoding="utf-8"))["provenance"]
    assert said["study"] == "quick"
    assert said["trial"] == trial["trial"]
    assert said["held_out_seeds"] == "2000..2005"
    composed = compose(
        SweepConfig,
        ["task=wall", "planner=mine", "horizons=[10]", "seeds=2", f"world_model={model}", f"output={folder}"],
        tmp_path,
    )
    spec = spec_of(composed, tmp_path)
    study = read_study([*QUICK, f"world_model={model}", f"output={folder}", "name=quick"], None)
    (judged,) = study.points(trial["settings"])
    from sweeps.config.jobs import lookups

    (entry,) = spec.expand(lookups()).entries
    assert entry.point.point_id == judged.point_id, "what a sweep plans is not what was judged"


def test_what_apply_refuses(ended, tmp_path, capsys):
    folder, _ = ended
    base = ["--conf", str(tmp_path), f"output={folder}"]
    assert main(["tune", "apply", "quikc", *base]) == 2
    assert "did you mean 'quick'" in capsys.readouterr().err
    assert main(["tune", "apply", *base]) == 2
    assert "name the study: grasp tune apply STUDY, one of quick" in capsys.readouterr().err
    assert main(["tune", "apply", "quick", "--trial", "99", *base]) == 2
    assert "trial 99 is not a candidate" in capsys.readouterr().err
    assert main(["tune", "apply", "quick", "--name", "a/b", "--trial", "99", *base]) == 2
    capsys.readouterr()
    (tmp_path / "tuned" / "there").mkdir(parents=True)
    (tmp_path / "tuned" / "there" / "wall-10.yaml").touch()
    winner = json.loads((folder / "studies" / "quick" / "winner.json").read_text(encoding="utf-8"))
    number = next(str(each["trial"]) for each in winner["candidates"] if each["trial"] is not None)
    assert main(["tune", "apply", "quick", "--name", "there", "--trial", number, *base]) == 2
    assert "wall-10.yaml exists already" in capsys.readouterr().err
    assert main(["tune", "apply", "quick", "--name", "cem", "--trial", number, *base]) == 2
    assert "planner 'cem' is cem, but study quick tuned gd" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["space.lr.low=2", "space.lr.high=1"], "space.lr goes from 2 to 1: low is above high; swap them."),
        (["space.lr.low=0"], "space.lr has a log scale from 0: it must start above 0"),
        (["space.rl.low=0"], "unknown setting of planner 'gd' in the search space: 'rl': did you mean 'lr'"),
        (["trials=0"], "trials 0 is not a whole number from 1 to"),
        (["planner=[gd,cem]", "space=gd"], "grasp tune takes one planner, not 2"),
        (["held_out.start=10004"], "seed 10004 is in seeds and in held_out"),
        (["choice_seeds.start=2000"], "seed 2000 is in choice_seeds and in held_out"),
        (["objectives=[sucess]"], "unknown objective 'sucess': did you mean 'success'"),
        (["objectives=[]"], "the study has no objective"),
        (["objectives=[cost,cost]"], "objective 'cost' is given twice"),
        (["join=wort"], "did you mean 'worst'"),
        (["sampler.name=tp"], "unknown sampler 'tp': did you mean 'tpe'"),
        (["sampler=tpe"], "sampler"),
        (["pruning.p_value=2"], "pruning.p_value 2 is not a probability"),
        (["pruning.warm_up=1"], "pruning.warm_up 1 is not a whole number from 2 to"),
        (["pruning.enabled=perhaps"], "pruning.enabled 'perhaps' is not true or false"),
        (["constraints.seconds=-1"], "constraints.seconds -1 is not a bound"),
        (["constraints.second=1"], "unknown objective 'second': did you mean 'seconds'"),
        (["starts.mine.lr=-1"], "starts.mine: lr -1 is negative"),
        (["starts.mine=3"], "starts.mine 3 is not a group of keys"),
        (["digits=0"], "digits 0 is not a whole number from 1 to 17"),
        (["top=0"], "top 0 is not a whole number from 1 to"),
        (["parallel=0"], "parallel 0 is not a whole number from 1 to"),
        (["optuna.storage=mysql://x/y"], "is neither a file nor postgresql://"),
        (["optuna.storage=postgresql://me:geheim@127.0.0.1:1/y"], "cannot be used"),
        (["optuna.storage=/proc/no/journal"], "cannot be written"),
        (["warm_start=other"], "unknown study 'other'"),
        (["max_rows=0"], "max_rows 0 is not a whole number"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_planned(more, said, model, tmp_path, capsys):
    asked = [word for word in words(model, tmp_path) if not any(word.split("=")[0] == m.split("=")[0] for m in more)]
    assert main([*asked, *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert "geheim" not in error
    assert not list(tmp_path.glob("ledger/**/*.parquet"))


def test_a_study_whose_space_changed_is_refused(ended, capsys):
    _, asked = ended
    assert main([*asked, "space.lr.high=0.5"]) == 2
    error = capsys.readouterr().err
    assert "study quick was begun with another space.lr (0.003 to 1, log scale, now 0.003 to 0.5, log scale)" in error
    assert main([*asked, "seeds.count=9"]) == 2
    assert "another tuning seeds" in capsys.readouterr().err


def test_a_setting_on_the_command_line_is_fixed_and_not_tuned(model, tmp_path, capsys):
    asked = words(model, tmp_path, "planners.gd.settings.lr=0.05", "trials=3", "tracking.enabled=false")
    assert main(asked) == 0
    assert "lr is fixed on the command line and not tuned" in capsys.readouterr().out
    spec = read_study(asked[1:], None)
    assert "lr" not in spec.space.names
    table = Ledger(tmp_path / "ledger").table(columns=["planner_settings"])
    assert {json.loads(text)["lr"] for text in table["planner_settings"].to_pylist()} == {0.05}


def test_several_objectives_make_a_front(model, tmp_path, capsys):
    more = ("objectives=[cost,evaluations]", "name=front", "trials=10", "tracking.enabled=false")
    assert main(words(model, tmp_path, *more)) == 0
    said = capsys.readouterr().out
    assert re.search(r"the front has \d+ points", said)
    assert (tmp_path / "studies" / "front" / "front.png").is_file()
    winner = json.loads((tmp_path / "studies" / "front" / "winner.json").read_text(encoding="utf-8"))
    points = [each for each in winner["candidates"] if each["trial"] is not None]
    values = [(each["tuning"]["values"]["cost"], each["tuning"]["values"]["evaluations"]) for each in points]
    assert not any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in values for b in values), "a point of the front is beaten"
    if len(points) > 1:
        share = re.search(r"in (\d+)% of pairs", said)
        assert share is not None
        assert int(share[1]) == round(100 * winner["order_kept"])
        assert main(["tune", "apply", "front", f"output={tmp_path}", "--conf", str(tmp_path / "conf")]) == 2
        assert "select one with --trial" in capsys.readouterr().err


def test_no_trial_that_keeps_the_constraints(model, tmp_path, capsys):
    assert main(words(model, tmp_path, "constraints.evaluations=1", "trials=3", "tracking.enabled=false")) == 2
    assert "no trial keeps evaluations <= 1: loosen it" in capsys.readouterr().err


def test_a_warm_start_begins_with_another_studys_best(ended, capsys):
    _, asked = ended
    first = StudyRun(read_study(asked[1:], None), Console()).study
    best = min((view for view in first.views() if view.state is State.COMPLETE), key=lambda view: view.values[0])
    again = [word for word in asked if not word.startswith(("name=", "trials="))] + [
        "name=warm",
        "trials=4",
        "warm_start=quick",
        "tracking.enabled=false",
    ]
    assert main(again) == 0
    second = StudyRun(read_study(again[1:], None), Console()).study
    started = {view.notes.get("start"): view.settings for view in second.views()}
    assert started[f"quick, trial {best.number}"] == best.settings


def test_help_has_examples():
    said = subprocess.run([*grasp_command("tune", "--help")], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "grasp tune apply" in said
    assert "kill -9" in said


def test_json_lines(model, tmp_path, capsys):
    assert main([*words(model, tmp_path, "tracking.enabled=false", "trials=4"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    trials = [line for line in lines if line["kind"] == "study"]
    assert {line["kind"] for line in lines} == {"study", "sweep"}, "the best trials are judged as sweeps"
    assert trials[-1]["trials"] == trials[-1]["total"] == 4
    assert trials[-1]["cells"] > 0


def test_optuna_dashboard_shows_the_studies(ended):
    folder, _ = ended
    port = free_port()
    found: list[object] = []

    def look() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as answer:
            found.append(json.load(answer))

    assert show_studies([f"output={folder}"], port, Console(quiet=True), wait=look) == 0
    (listed,) = found
    assert "quick" in {each["study_name"] for each in listed["study_summaries"]}  # pyright: ignore[reportIndexIssue, reportCallIssue, reportArgumentType]


def test_optuna_dashboard_without_studies(tmp_path, capsys):
    assert main(["ui", "--optuna", f"output={tmp_path}"]) == 2
    assert "no study has been run" in capsys.readouterr().err
