"""The command line through its real entry: sweeps that grow, bad input in one sentence, Ctrl-C, live lines."""

import io
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console

from orchestrator.core.batch import Batch
from orchestrator.core.cell import Named, Point
from orchestrator.ledger import parts
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import SCHEMA, SCHEMA_VERSION, VERSION_KEY
from orchestrator.workers.backend import evaluated
from orchestrator.workers.evaluator import Evaluator
from planners import full_settings
from sweeps.cli.main import VERBS, main
from sweeps.config.grid import Entry, Grid
from sweeps.config.outputs import Outputs
from sweeps.ui.servers import serve
from tests.support.small_sweeps import GRID, ROOT, ledger_rows, tiny_model
from world_models.checkpoints.store import read_card, save
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.tasks import make_task


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    """The output folder of a sweep of four cells, and its output."""
    folder = tmp_path_factory.mktemp("outputs")
    words = [sys.executable, "-m", "sweeps", "sweep", *GRID, f"world_models={model}", f"output={folder}"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout


def run(capsys, *words):
    """Exit code, standard output and standard error of a command line."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def imported_by(*words):
    """Modules that a command line has imported when it ends."""
    code = "import sys; from sweeps.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


def table_of(text):
    """Rows of the table of results: each rate's interval is followed by its n."""
    return [line.rstrip() for line in text.splitlines() if re.search(r"\[\d\.\d\d, \d\.\d\d\] +\d+ ", line)]


def test_help_is_quick_and_every_verb_teaches_with_examples(capsys):
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sweeps", "--help"], cwd=ROOT, check=True, capture_output=True)
    assert time.perf_counter() - started < 3  # far below 1 s on an idle machine
    code, overview, _ = run(capsys)
    assert code == 0
    for verb in VERBS:
        assert f"  {verb} " in overview
        code, text, _ = run(capsys, verb, "--help")
        assert code == 0
        assert "examples\n" in text
        assert f"grasp {verb}" in text


def test_help_imports_nothing_heavy():
    assert not imported_by("--help") & {"torch", "ray", "mlflow", "hydra"}


@pytest.mark.parametrize("words", [("quality", "planning_quality=quick", "--dry-run"), ("data", "inspect", "nowhere")])
def test_what_draws_nothing_does_not_have_matplotlib_write_its_cache_of_fonts(words, tmp_path):
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    command = [sys.executable, "-m", "sweeps", *words, f"output={tmp_path / 'out'}"]
    environment = {**os.environ, **home, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr
    assert not [path for path in tmp_path.rglob("*") if "matplotlib" in path.name]


def test_a_sweep_prints_a_table_and_writes_its_files(finished):
    folder, printed = finished
    assert len(table_of(printed)) == 2
    assert ledger_rows(folder) == 4
    sweep = folder / "sweeps" / "smoke"
    assert {"sweep.json", "config.yaml", "report.txt", "report.csv", "report.html", "figures"} <= {
        f.name for f in sweep.iterdir()
    }
    assert table_of((sweep / "report.txt").read_text(encoding="utf-8")) == table_of(printed)
    assert (folder / "mlflow.db").is_file()
    assert len(list((folder / "artifacts").glob("*/*.mp4"))) == 4  # two cells per point: the best and the worst


def test_the_same_sweep_again_computes_nothing_and_prints_the_same_table(finished, model):
    folder, printed = finished
    words = [sys.executable, "-m", "sweeps", "sweep", *GRID, f"world_models={model}", f"output={folder}"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert table_of(ended.stdout) == table_of(printed)
    assert "nothing to plan" in ended.stdout
    assert ledger_rows(folder) == 4
    assert not imported_by(*words[3:]) & {"ray", "mlflow", "matplotlib"}


def test_a_dry_run_says_what_is_new_and_changes_nothing(finished, model, capsys):
    folder, _ = finished
    before = sorted(path for path in folder.rglob("*"))
    code, text, _ = run(capsys, "sweep", "--dry-run", *GRID, f"world_models={model}", f"output={folder}", "seeds=5")
    assert code == 0
    assert "2 points x 5 seeds from 0 = 10 cells" in text
    assert "6 cells in about 2 batches of up to 3 rows on 1 workers" in text
    assert "from cells in the ledger" in text
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_dry_run_before_anything_was_run_says_that_it_does_not_know(model, tmp_path, capsys):
    code, text, _ = run(capsys, "sweep", *GRID, f"world_models={model}", f"output={tmp_path / 'new'}", "--dry-run")
    assert code == 0
    assert "unknown: the ledger has no timed cell of gd, grasp yet" in text
    assert not (tmp_path / "new").exists()


def test_a_report_is_the_sweeps_table(finished, capsys):
    folder, printed = finished
    for words in ((), ("smoke",)):
        code, text, _ = run(capsys, "report", *words, f"output={folder}")
        assert code == 0
        assert table_of(text) == table_of(printed)


def test_plan_prints_the_result_and_saves_picture_animations_and_trajectory(model, tmp_path, capsys):
    words = ("task=wall", "planner=gd", "horizon=20", "seed=3", f"world_model={model}", "planners.gd.settings.iterations=2")
    code, text, _ = run(capsys, "plan", *words, f"output={tmp_path}")
    assert code == 0
    assert "seed 3, horizon 20" in text
    assert "in the simulator" in text
    for suffix in ("png", "gif"):
        with Image.open(tmp_path / "plans" / f"wall-gd-H20-seed3.{suffix}") as image:
            assert image.format == suffix.upper()
    assert b"moov" in (tmp_path / "plans" / "wall-gd-H20-seed3.mp4").read_bytes()
    assert pq.read_table(tmp_path / "plans" / "wall-gd-H20-seed3.parquet").num_rows == 21
    code, _, said = run(capsys, "plan", "seeds=[1,2]", f"world_model={model}", f"output={tmp_path}")
    assert code == 2
    assert "make 2 cells" in said


def test_plan_replans_and_says_so(model, tmp_path, capsys):
    words = ("plan", "task=wall", "planner=gd", "horizon=20", "seed=3", f"world_model={model}", f"output={tmp_path}")
    code, text, _ = run(capsys, *words, "mode=mpc:10", "planners.gd.settings.iterations=2")
    assert code == 0
    assert "MPC, planned anew after every 10 environment steps" in text
    for suffix in ("png", "gif"):
        with Image.open(tmp_path / "plans" / f"wall-gd-mpc-10-H20-seed3.{suffix}") as image:
            assert image.format == suffix.upper()


def test_a_sweep_over_modes_is_two_points(model, tmp_path, capsys):
    words = ("sweep", "--dry-run", *GRID, f"world_models={model}", f"output={tmp_path}", "mode=open_loop,mpc:5")
    code, text, _ = run(capsys, *words)
    assert code == 0
    assert "4 points x 2 seeds from 0 = 8 cells" in text


def test_models_lists_cards(model, capsys):
    code, text, _ = run(capsys, "models", model)
    assert code == 0
    assert "tiny" in text
    assert "wall" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("swep", "did you mean 'sweep'"),
        ("sweep --dryrun", "--dryrun"),
        ("sweep task=wal", "did you mean 'wall'"),
        ("sweep planner=graps", "did you mean 'grasp'"),
        ("sweep world_models=wal_", "unknown world model 'wal_'"),
        ("sweep sedes=3", "did you mean 'seeds'"),
        ("sweep horizons=0", "horizon 0 is not a positive"),
        ("sweep horizons=-3", "horizon -3 is not a positive"),
        ("sweep seeds=[]", "the grid is empty"),
        ("sweep planner=[]", "the grid is empty"),
        ("sweep horizons=[10,10]", "given twice"),
        ("sweep planner=gd,gd", "given twice"),
        ("sweep mode=mcp:5", "unknown execution mode 'mcp:5': did you mean 'mpc:K'?"),
        ("sweep mode=[]", "the grid is empty: it has no execution mode"),
        ("sweep mode=mpc:0", "give mpc:K with K from 1 to 999999"),
        ("sweep mode=open_loop,mpc:20 {model}", "'mpc:20' never replans within horizon 10: choose 10 or less"),
        ("sweep tasks.wall.settings.action_block=5 mode=mpc:3 {model}", "replans inside a model step"),
        ("sweep max_rows=0 {model}", "max_rows 0 is not a whole number"),
        ("sweep planners.grasp.settings.noise=-0.1 {model}", "noise -0.1 is negative"),
        ("sweep planners.grasp.settings.iteration=3 {model}", "did you mean 'iterations'"),
        ("sweep tasks.wall.settings.kind=shalow {model}", "did you mean 'shallow'"),
        ("sweep task=push_t {model}", "world model 'tiny' was trained on wall"),
        ("sweep output=/dev/null/x {model}", "cannot write to output folder '/dev/null/x'"),
        ("sweep tasks.wall.settings.kind=deep {model}", "wall has no 'deep' problem of 10 steps"),
        ("sweep --conf /nowhere", "is not a folder"),
        ("plan planner=grasp,gd {model}", "use `grasp sweep`"),
        ("report nosuch output={finished}", "unknown sweep 'nosuch'"),
        ("report smok output={finished}", "did you mean 'smoke'"),
        ("report a b", "takes one sweep"),
        ("report output=/nowhere", "no sweep has been run"),
        ("train wal", "did you mean 'wall'"),
        ("train wall train.step=3", "unknown setting of train 'step'"),
        ("train wall out=/dev/null/x", "cannot write"),
        ("models nosuch", "unknown world model 'nosuch'"),
        ("ui output=/nowhere", "no sweep has been tracked"),
        ("ui smoke", "does not take 'smoke'"),
        ("ui --port 0 output={finished}", "port 0 is not a valid port"),
        ("ui --port x", "--port"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(words, said, model, finished, capsys):
    smoke = ("sweep=smoke", "horizons=[10]") if words.startswith("sweep ") else ()
    text = words.format(model=f"world_models={model}", finished=finished[0])
    verb, *rest = text.split()
    code, out, err = run(capsys, verb, *smoke, *rest)
    assert code == 2
    assert said in err
    assert err.startswith("grasp: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_a_model_whose_action_size_does_not_fit_is_refused(tmp_path, capsys):
    network = ResidualMLP(MLPConfig(observation_dim=2, action_dim=3, width=8, depth=1))
    save(tmp_path / "odd", "odd", network, torch.ones(2), {"dynamics": dict(make_task("wall").dynamics)})
    code, _, err = run(capsys, "sweep", *GRID, f"world_models={tmp_path / 'odd'}", f"output={tmp_path / 'out'}")
    assert code == 2
    assert "world model 'odd' takes actions of size 3, and the task's model step has 2" in err
    assert not (tmp_path / "out").exists()


def test_a_truncated_and_a_foreign_checkpoint_are_refused(model, tmp_path, capsys):
    for name, damage in (("truncated", lambda data: data[: len(data) // 2]), ("foreign", lambda data: b"PK\x03\x04 pickle")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "card.json").write_bytes((model / "card.json").read_bytes())
        (folder / "model.safetensors").write_bytes(damage((model / "model.safetensors").read_bytes()))
        code, out, err = run(capsys, "sweep", *GRID, f"world_models={folder}", f"output={tmp_path / 'out'}")
        assert code in (1, 2)
        assert "model.safetensors is truncated or does not fit" in out + err
        assert "Traceback" not in out + err


def test_a_ledger_of_a_newer_schema_is_refused_and_kept(model, tmp_path, capsys):
    outputs = Outputs(tmp_path)
    outputs.ledger.mkdir(parents=True)
    newer = SCHEMA.with_metadata({VERSION_KEY: str(SCHEMA_VERSION + 1).encode()})
    written = io.BytesIO()
    pq.write_table(newer.empty_table(), written)
    before = written.getvalue()
    part = outputs.ledger / parts.name_of(before, 0)
    part.write_bytes(before)
    code, _, err = run(capsys, "sweep", *GRID, f"world_models={model}", f"output={tmp_path}")
    assert code == 2
    assert f"newer than {SCHEMA_VERSION}" in err
    assert part.read_bytes() == before


def test_failed_cells_are_counted_explained_and_planned_again_only_on_request(model, tmp_path, capsys):
    settings = Named.of("gd", full_settings("gd", {"iterations": 1}))
    too_short = Point(Named.of("wall", {"kind": "deep"}), str(model), read_card(str(model))[1], settings, 10)
    outputs = Outputs(tmp_path)
    outputs.save(Grid("failing", (Entry("wall_deep", "gd", "px", too_short),), (0, 1, 2)), "")
    ledger = Ledger(outputs.ledger)
    with ledger.writer():
        ledger.append(evaluated(Evaluator(), Batch.of(too_short, (0, 1))).results)
    code, text, _ = run(capsys, "report", "failing", f"output={tmp_path}")
    assert code == 1
    assert "2 cells failed with: UserError: wall has no 'deep' problem" in text
    assert "--retry-failed" in text
    assert "1 cells are missing" in text


def test_a_taken_port_is_refused_with_another_to_try(finished, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run(capsys, "ui", "--port", port, f"output={finished[0]}")
    assert code == 2
    assert f"port {port} on 127.0.0.1 is taken" in err
    assert "grasp ui --port" in err


def test_bad_input_through_the_shell_is_one_line():
    ended = subprocess.run(
        [sys.executable, "-m", "sweeps", "sweep", "planner=graps"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "grasp: unknown planner 'graps': did you mean 'grasp'?\n"


def test_the_ui_serves_the_sweeps_runs(finished):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pages = []

    def look(server: subprocess.Popen[bytes]) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            pages.append(answer.status)
        return 0

    stream = io.StringIO()
    assert serve(Outputs(finished[0]), port, Console(file=stream), look) == 0
    assert pages == [200]
    assert re.search(rf"http://127.0.0.1:{port}/#/experiments/\d+/runs", stream.getvalue().replace("\n", ""))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
