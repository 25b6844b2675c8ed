"""`grasp quality` as a user types it: refusals in one sentence, and a tiny study from an empty folder to its page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from orchestrator.ledger.ledger import Ledger
from sweeps.cli.main import main
from sweeps.config.compose import compose
from sweeps.config.grid import spec_of
from sweeps.config.jobs import lookups
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import SweepConfig
from sweeps.quality import stages as quality_stages
from sweeps.quality import sweeps as plans
from sweeps.quality.generated_configs import all_tuned_settings, begin, file_of, write_sweep, write_timed, write_tuned
from sweeps.quality.results import read
from sweeps.quality.spec import Condition, read_quality
from sweeps.quality.studies import TunedSettings, studies_of
from sweeps.quality.sweeps import Grids
from tests.support.small_sweeps import ledger_rows, start_grasp, until
from tests.sweeps.quality.tiny_quality import STUDY, tiny_study


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    return tiny_study(tmp_path_factory.mktemp("conf"))


def words(conf: Path, folder: Path, *more: str) -> list[str]:
    return ["quality", "--quiet", "--conf", str(conf), "planning_quality=tiny", f"output={folder}", *more]


def files_of(folder: Path) -> dict[str, bytes]:
    """Page, figures, animations and results."""
    page, assets = folder / "quality" / "planning-quality.md", folder / "quality" / "planning-quality"
    return {str(file.relative_to(folder)): file.read_bytes() for file in (page, *sorted(assets.iterdir()))}


@pytest.fixture(scope="module")
def ended(conf, tmp_path_factory):
    """A folder in which the study has run to its end."""
    folder = tmp_path_factory.mktemp("study")
    assert main(words(conf, folder)) == 0
    return folder


@pytest.mark.parametrize("variant", ["full", "quick"])
def test_both_variants_that_ship_are_sound(variant):
    spec = read_quality([f"planning_quality={variant}"], None)
    assert spec.variant == variant
    assert len({study.name for study in studies_of(spec)}) == len(list(studies_of(spec)))
    names = [plan.name for plan in (*plans.tests(spec), *plans.equal_seconds(spec), *plans.replanned(spec))]
    assert len(set(names)) == len(names)
    for target in spec.targets["targets"]:
        assert any(target["task"] == test.task and target["horizon"] in test.horizons for test in spec.tests)


def test_the_full_study_has_the_required_size():
    spec = read_quality([], None)
    assert [*spec.planners] == ["grasp", "grasp_explore", "gd", "gd_explore", "cem", "icem", "mppi", "latco"]
    open_loop = {
        (test.task, horizon): len(test.seeds) for test in spec.tests for horizon in test.horizons if test.mode == "open_loop"
    }
    assert {horizon for task, horizon in open_loop if task == "push_t"} == {25, 50, 75, 100}
    assert {horizon for task, horizon in open_loop if task == "point_maze_medium"} == {50, 100, 200}
    assert open_loop["push_t", 50] == open_loop["wall_deep", 100] == 64
    assert min(open_loop.values()) == 32
    assert len({test.seeds[0] for test in spec.tests}) == 1  # horizons of a task have the same seeds
    assert {(test.task, test.horizons) for test in spec.tests if test.mode != "open_loop"} == {
        ("push_t", (25, 50)),
        ("wall_deep", (100,)),
    }


BAD = {
    "planners: {grasp: {}, gdd: {}}": "unknown key of planners: 'gdd': did you mean 'gd'",
    "planners: {gd: {}, grasp: {}}": "planners begins with 'gd': put grasp first.",
    "tests[0] {task: tinny}": "unknown task in tests[0]: 'tinny': did you mean 'tiny'",
    "tuning.seeds {start: 2001, count: 4}": "seed 2001 is in tuning.seeds and in a test",
    "tuning.choice_seeds {start: 2000, count: 2}": "seed 2000 is in tuning.choice_seeds and in a test",
    "places.far {task: tiny, horizon: 50, for: [tiny]}": "places.far tunes on tiny at horizon 50, which no test has",
    "places.far {task: wall, horizon: 50}": "places.far tunes on wall at horizon 50, which no test has",
    "tests[0] {task: wall}": "the test of wall has no settings: add the task to `for` of an entry of places.",
    "tests[0] {horizons: []}": "tests[0] has horizons []: give a list of whole numbers above 0, e.g. [25, 50].",
    "tests[0] {horizons: [10, 10, 20]}": "tiny at horizon 10 (open_loop) is tested twice",
    "tests[1] {equal_seconds: true}": "tests[1] has equal_seconds in mode mpc:5",
    "tests[1] {mode: mcp:5}": "unknown execution mode 'mcp:5'",
    "tests[1] {modus: mpc:5}": "unknown key of tests[1]: 'modus': did you mean 'mode'",
    "ablation.at [{task: tiny, horizon: 15}]": "no open-loop test has tiny at horizon 15",
    "targets [{task: tiny, horizon: 15, at_least: 0.5}]": "a target is about tiny at horizon 15 (open_loop), which no test has",
    "faster [{task: tiny, horizon: 10, than: cme, share: 0.25}]": "unknown than in faster[0]: 'cme'",
    "faster [{task: tiny, horizon: 10, than: gd, share: 0.5}, {task: tiny, horizon: 10, than: gd, share: 0.2}]": (
        "faster names gd on tiny at horizon 10 twice"
    ),
    "sensitivity.noise [0]": "sensitivity.noise is 0: give a number above 0",
    "tuning.trials 0": "tuning has trials 0: give a whole number above 0",
    f"tuning.trials {10**400}": "tuning has trials about 10^400: give a whole number above 0, at most 1000000.",
    f"sensitivity.noise [{10**400}]": "sensitivity.noise is about 10^400: give a number above 0, at most 1e+09.",
    "hours 0.001": "more than hours=0.001: give fewer trials, tests or seeds, or a larger hours=.",
}


def wrong(change: str) -> str:
    """The tiny study with something changed: `KEY VALUE`, where KEY may be `a.b` or `a[0]`."""
    study = yaml.safe_load(STUDY)
    if change.startswith("planners: "):
        return yaml.safe_dump(study | yaml.safe_load(change), sort_keys=False)
    key, text = change.split(" ", 1)
    value, where = yaml.safe_load(text), study
    if "[" in key:
        name, number = key.removesuffix("]").split("[")
        study[name][int(number)] |= value
    else:
        *path, last = key.split(".")
        for step in path:
            where = where[step]
        where[last] = value
    return yaml.safe_dump(study, sort_keys=False)


@pytest.mark.parametrize(("change", "said"), BAD.items(), ids=[change[:60] for change in BAD])
def test_a_study_that_cannot_be_is_refused_in_one_sentence(change, said, tmp_path, capsys):
    conf = tiny_study(tmp_path, "# @package _global_\n" + wrong(change))
    assert main(words(conf, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_folder_of_generated_configs_is_not_a_users_folder(tmp_path, capsys):
    conf = tiny_study(tmp_path / "quality")
    assert main(words(conf, tmp_path)) == 2
    assert "is the folder to which grasp quality writes its own configs" in capsys.readouterr().err
    assert (conf / "planning_quality" / "tiny.yaml").exists()


def test_generated_configs_compose_to_what_was_tuned(conf, tmp_path):
    spec = read_quality(["planning_quality=tiny", f"output={tmp_path}"], conf)
    found = {
        ("grasp", "near"): TunedSettings(
            "grasp", {"noise": 0.25, "iterations": 7, "sync_every": 2, "reached_cost": 0.01}, {"study": "a"}
        ),
        ("gd", "near"): TunedSettings("gd", {"lr": 0.125, "max_evaluations": 99}, {"study": "b"}),
    }
    begin(tmp_path, conf)
    write_tuned(spec, tmp_path, found)
    write_timed(spec, tmp_path, found, {Condition("tiny", 10): 0.5, Condition("tiny", 20): 0.75})
    every = [*plans.tests(spec), *plans.equal_seconds(spec)]
    labels = dict.fromkeys(label for plan in every for label in plan.planners)
    grids = Grids.of(["tiny"], [file_of(label) for label in labels], tmp_path)
    for plan in every:
        write_sweep(tmp_path, plan)
        composed = spec_of(compose(SweepConfig, [f"sweep=[{plan.name}]"], tmp_path), tmp_path).expand(lookups())
        assert composed == grids.of_plan(plan), "a sweep's file does not say what the study plans"
        for entry in composed.entries:
            settings = entry.point.planner.as_dict()
            if entry.planner == "grasp":
                assert (settings["noise"], settings["iterations"]) == (0.25, 7)
            elif entry.planner == "gd":
                assert (settings["lr"], settings["max_evaluations"], settings["max_seconds"]) == (0.125, 99, None)
            else:
                assert entry.planner == "gd_timed"
                assert settings["max_seconds"] == {10: 0.5, 20: 0.75}[entry.point.horizon]
                assert (settings["lr"], settings["attempts"], settings["max_evaluations"]) == (0.125, 100, None)
                assert (
                    settings["reached_cost"] == 0.01
                )  # a setting of GRASP: it says what counts as reached, not how to get there


def test_a_dry_run_says_what_would_run_and_writes_nothing(conf, tmp_path, capsys):
    assert main([*words(conf, tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "studies                        44 cells at most,     44 to plan  about" in said
    assert "bound: 8 h on 2 cores" in said
    assert not (tmp_path / "out").exists()


def test_a_study_leaves_page_figures_animations_and_results(ended):
    found = files_of(ended)
    page = found["quality/planning-quality.md"].decode()
    results = read(ended / "quality" / "planning-quality" / "results.parquet")
    parts = set(results.table["part"].to_pylist())
    assert parts == {"own", "equal", "hurried", "mpc", "ablation", "sensitivity"}
    assert results.table.num_rows == 12 + 12 + 3 + 4 + 12 + 4
    for row in results.table.to_pylist():
        assert f"| {row['planner']} |" in page or row["part"] == "sensitivity"
    drawn = {Path(name).stem for name in found if name.endswith(".png")}
    assert drawn == {"success", "seconds", "growth", "model", "sensitivity"}
    assert [name for name in found if name.endswith(".gif")] or "No plan missed." in page
    # The tuned GRASP of the test is the study's own winner: its held-out cells were planned once.
    ids = Ledger(Outputs(ended).ledger).table(columns=["cell_id"])["cell_id"].to_pylist()
    assert len(set(ids)) == len(ids)


def test_a_finished_study_plans_nothing_and_writes_the_same_bytes(ended, conf, capsys):
    before, rows = files_of(ended), ledger_rows(ended)
    assert main(words(conf, ended)) == 0
    assert "left: 0 cells" in capsys.readouterr().out
    assert ledger_rows(ended) == rows
    assert files_of(ended) == before


def test_the_seconds_of_grasp_can_be_found_again(ended, conf):
    file = ended / "quality" / "seconds.json"
    text = file.read_text(encoding="utf-8")
    file.unlink()
    rows = ledger_rows(ended)
    assert main(words(conf, ended)) == 0
    assert (file.read_text(encoding="utf-8"), ledger_rows(ended)) == (text, rows)


def test_page_and_figures_come_from_the_results_alone(ended, conf, tmp_path):
    assets = tmp_path / "quality" / "planning-quality"
    assets.mkdir(parents=True)
    for animation in (ended / "quality" / "planning-quality").glob("*.gif"):
        shutil.copy(animation, assets)
    source = ended / "quality" / "planning-quality" / "results.parquet"
    assert main([*words(conf, tmp_path), "--from", str(source)]) == 0
    assert files_of(tmp_path) == files_of(ended)
    assert not (tmp_path / "ledger").exists()


def test_a_study_that_is_killed_goes_on(ended, conf, tmp_path):
    process = start_grasp(*words(conf, tmp_path))
    try:
        until(lambda: (tmp_path / "ledger").exists() and ledger_rows(tmp_path) >= 30, "the middle of the study")
    finally:
        process.kill()
        process.communicate()
    there = set(Ledger(Outputs(tmp_path).ledger).table(columns=["cell_id"])["cell_id"].to_pylist())
    assert main(words(conf, tmp_path)) == 0
    ids = Ledger(Outputs(tmp_path).ledger).table(columns=["cell_id"])["cell_id"].to_pylist()
    assert there < set(ids)
    assert len(set(ids)) == len(ids)
    assert len(ids) >= len(there)
    assert (tmp_path / "quality" / "planning-quality.md").exists()


@pytest.mark.parametrize("stage", ["tune", "sweep"])
def test_ctrl_c_in_a_stage_is_passed_on(stage, ended, conf, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality_stages, stage, lambda *words: 130)
    assert main(words(conf, tmp_path if stage == "tune" else _untested(ended, tmp_path))) == 130
    assert (
        f"everything finished is kept. Go on with: grasp quality --conf {conf} planning_quality=tiny" in capsys.readouterr().out
    )


def _untested(ended: Path, folder: Path) -> Path:
    """The studies of a finished folder, without the cells of any test."""
    shutil.copytree(ended / "studies", folder / "studies")
    return folder


def test_studies_that_have_not_ended_have_no_winner(conf, tmp_path):
    from world_models.errors import UserError

    spec = read_quality(["planning_quality=tiny", f"output={tmp_path}"], conf)
    with pytest.raises(UserError, match="has no winner"):
        all_tuned_settings(spec)
