"""`grasp diagnose` through the real command line: its verdicts, its files and its run in MLflow."""

import csv
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import Plane
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from sweeps.diagnose.claims import Verdict, brittle_claim
from sweeps.diagnose.measure import RADII, Subject, measure_brittleness
from sweeps.diagnose.setup import ABLATIONS, BASE, CLAIMED, read_diagnosis
from world_models.base import SquaredDistance
from world_models.checkpoints.store import LoadedModel, save
from world_models.models.analytic import LinearQuadratic
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.tasks import make_task

F64 = torch.float64
TINY = ("horizons=[12,4,8]", "problems=2", "seeds=[20000,20001,20002]", "places.early=1", "places.late=2")
QUICK = ("planners.grasp.settings.iterations=4", "planners.grasp.settings.sync_every=2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model of the wall."""
    torch.manual_seed(0)
    network = ResidualMLP(MLPConfig(observation_dim=2, action_dim=2, width=8, depth=2))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save(folder, "tiny", network, torch.ones(2), {"dynamics": dict(make_task("wall").dynamics)})


@pytest.fixture(scope="module")
def words(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    return ["diagnose", *TINY, *QUICK, f"world_model={model}", f"output={folder}"]


@pytest.fixture(scope="module")
def diagnosed(words):
    """The outputs of a tiny diagnosis."""
    assert main(words) == 0
    return Outputs(Path(words[-1].split("=")[1]))


def lines(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_it_writes_figures_and_tables(diagnosed):
    folder = diagnosed.root / "diagnose" / "wall-tiny"
    for name in ("curvature", "gradients", "brittleness", "ablation"):
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 300
    claims = {line["claim"]: line for line in lines(folder / "claims.csv")}
    assert len(claims) == 12
    assert {line["verdict"] for line in claims.values()} <= {verdict.value for verdict in Verdict}
    assert all((folder / line["figure"]).is_file() and line["rule"] for line in claims.values())
    curvature = lines(folder / "curvature.csv")
    assert {line["objective"] for line in curvature} == {"shooting", "lifted", "control"}
    assert {line["horizon"] for line in curvature} == {"4", "8", "12"}
    assert {line["place"] for line in curvature} == {"null actions", "random actions", "after 2 iterations"}
    gradients = lines(folder / "gradients.csv")
    assert len([line for line in gradients if line["horizon"] == "12"]) == 2 * 3 * 12
    assert [line["planner"] for line in lines(folder / "ablation.csv")] == [BASE, *ABLATIONS]
    assert len(lines(folder / "brittleness.csv")) == len(RADII) * 3


def test_the_ablation_is_in_the_ledger_and_is_not_planned_again(diagnosed, words, capsys):
    table = Ledger(diagnosed.ledger).table().to_pylist()
    assert len(table) == 3 * (1 + len(ABLATIONS))
    assert {row["status"] for row in table} == {"completed"}
    assert {row["seed"] for row in table} == {20000, 20001, 20002}
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "cells to plan" not in said
    assert "instrument check" in said
    assert "passed" in said
    assert Ledger(diagnosed.ledger).table().num_rows == len(table)


def test_mlflow_keeps_figures_tables_and_verdicts(diagnosed):
    client = MlflowClient(tracking_uri=diagnosed.tracking_uri)
    experiment = client.get_experiment_by_name("grasp")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`grasp.kind` = 'sweep'")
    assert parent.info.run_name == "diagnose-wall-tiny"
    assert parent.data.tags["verdict/control"] == "passed"
    assert {f"verdict/ablation_{name.replace(' ', '_')}" for name in CLAIMED} <= parent.data.tags.keys()
    assert "| instrument check" in parent.data.tags["mlflow.note.content"]
    files = {
        kind: {Path(f.path).name for f in client.list_artifacts(parent.info.run_id, kind)} for kind in ("figures", "tables")
    }
    assert files["figures"] == {"curvature.png", "gradients.png", "brittleness.png", "ablation.png"}
    assert files["tables"] == {f"{name}.csv" for name in ("claims", "curvature", "gradients", "brittleness", "ablation")}
    read = client.download_artifacts(parent.info.run_id, "tables/claims.csv")
    assert Path(read).read_text(encoding="utf-8") == (diagnosed.root / "diagnose" / "wall-tiny" / "claims.csv").read_text(
        encoding="utf-8"
    )
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len(children) == 1 + len(ABLATIONS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("task=wal", "did you mean 'wall'"),
        ("task=wall,push_t", "takes one task, not 2"),
        ("planner=gd", "planner 'gd' is gd: grasp diagnose takes GRASP apart"),
        ("world_models=[wall,push_t]", "takes one world_model, not 2"),
        ("world_model=nosuch", "unknown world model 'nosuch'"),
        ("horizons=[10,20]", "horizons [10, 20] are too few"),
        ("horizons=[10,20,-3]", "horizon -3 is not a positive"),
        ("problems=0", "problems 0 is not a whole number from 2 to"),
        ("problems=40", "problems 40 exceeds the 32 seeds"),
        ("places.early=50", "places.early 50 does not come before places.late 40"),
        ("places.gd_lr=0", "places.gd_lr 0 is not a learning rate > 0"),
        ("ablation.attempts=0", "attempts 0 is below 1"),
        ("ablation=3", "ablation 3 is not a group of keys"),
        ("horizons=[5,6,7] task=wall_deep", "wall has no 'deep' problem of 7 steps"),
        ("output=/dev/null/x", "cannot write to output folder"),
        ("problem=3", "did you mean 'problems'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(words, said, capsys):
    assert main(["diagnose", *words.split()]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_horizons_default_to_eight_up_to_the_tasks_longest_and_the_command_line_wins(tmp_path):
    asked = read_diagnosis([f"output={tmp_path}", "planners.grasp.settings.noise=0.25", "ablation.attempts=2"], None)
    assert asked.horizons == (6, 12, 19, 25, 31, 38, 44, 50)
    assert asked.probe.phase.noise == 0.25
    settings = {entry.planner: entry.point.planner.as_dict() for entry in asked.grid.entries}
    assert settings[BASE]["noise"] == 0.25
    assert settings["no noise"]["noise"] == 0
    assert settings["no detach"] == {**settings[BASE], "stop_gradient": False}
    assert {each["attempts"] for each in settings.values()} == {2}
    assert min(asked.grid.seeds) >= 20000


def test_shorter_horizons_keep_the_start_and_stay_reachable():
    world = LinearQuadratic(torch.eye(2, dtype=F64), 0.1 * torch.eye(2, dtype=F64))
    loaded = LoadedModel("plane", world, SquaredDistance(), lambda states: states, {}, "0")
    task = Plane()
    subject = Subject(task, loaded, (1, 2, 3), 10)
    short, whole = subject.problems(4), subject.problems(10)
    torch.testing.assert_close(short.context.last, whole.context.last)
    assert (short.steps, whole.steps) == (4, 10)
    problem = task.problem(2, 10)
    assert whole.goal[1].tolist() == pytest.approx(problem.goal.tolist())
    reached = problem.start + 0.1 * problem.reference_actions[:4].sum(0)
    assert short.goal[1].tolist() == pytest.approx(reached.tolist())
    row = measure_brittleness(subject)
    expected = torch.tensor(RADII, dtype=F64).unsqueeze(1).expand(-1, 3)
    torch.testing.assert_close(row.measured.removed, expected, atol=1e-3, rtol=0)
    assert row.truly_removed is not None
    torch.testing.assert_close(row.truly_removed, expected, atol=1e-3, rtol=0)
    assert brittle_claim(row).verdict == Verdict.NOT_SHOWN


class Wavy(LinearQuadratic):
    """A misled model: its prediction moves by half a metre when the state moves by a few millimetres."""

    def step(self, states, actions):
        return states[:, -1] + 0.5 * (500 * states[:, -1]).sin() + actions[:, -1] @ self.B.T


def test_the_simulator_shows_where_a_model_was_misled():
    eye = torch.eye(2, dtype=F64)
    loaded = LoadedModel("plane", Wavy(eye, 0.1 * eye), SquaredDistance(), lambda states: states, {}, "0")
    row = measure_brittleness(Subject(Plane(), loaded, tuple(range(16)), 20))
    claim = brittle_claim(row)
    assert claim.verdict == Verdict.SHOWN
    assert row.truly_removed is not None
    assert float(row.truly_removed[RADII.index(0.1)].max()) <= 0.1 + 1e-9
    assert float(row.measured.removed[RADII.index(0.1)].median()) > 0.5


def test_impossible_states_are_left_out_of_the_truth():
    task = make_task("wall", kind="free")
    nowhere = LinearQuadratic(torch.eye(2, dtype=F64), torch.eye(2, dtype=F64))
    loaded = LoadedModel("wall", nowhere, SquaredDistance(), lambda states: states + 1000, {}, "0")
    row = measure_brittleness(Subject(task, loaded, (20000, 20001), 10))
    assert row.truly_removed is not None
    assert bool(row.truly_removed.isnan().all())
    assert "no such state exists" in brittle_claim(row).measured
