"""The door of input, through the real commands: what was typed is what is meant, or one sentence says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.cli.main import main
from sweeps.config.compose import compose
from sweeps.config.overrides import assignments, override_text
from sweeps.config.schema.configs import COMMANDS, GridConfig, SweepConfig
from world_models.errors import UserError

SMOKE = ("sweep=smoke", "planner=gd", "planners.gd.settings.iterations=3", "artifacts.cells=[]", "tracking.enabled=false")


def config(*words: str) -> SweepConfig:
    return compose(SweepConfig, [*SMOKE, *words]).config


@pytest.mark.parametrize(
    "words",
    [("seeds=2", "seeds.start=100"), ("seeds.start=100", "seeds=2"), ("seeds={start:100,count:2}",), ("seeds=100,101",)],
)
def test_a_count_and_a_start_go_together_in_either_order(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert config(*words).seeds == (100, 101)
    assert main(["sweep", "--dry-run", *SMOKE, *words, "backend=inline"]) == 0
    assert "1 points x 2 seeds from 100 = 2 cells" in capsys.readouterr().out


def test_a_count_keeps_the_start_of_the_config() -> None:
    assert compose(SweepConfig, ["sweep=h50", "seeds=3"]).config.seeds == (2000, 2001, 2002)
    tuned = compose(COMMANDS["tune"], ["space=gd", "planner=gd", "choice_seeds=2", "held_out=3", "held_out.start=7"]).config
    assert (tuned.choice_seeds, tuned.held_out) == ((11000, 11001), (7, 8, 9))  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("text", ["2025_11_29", "1e5", "true", "null", "0x10", "1.50", "01", "墙"])
def test_texts_stay_as_they_were_typed(text: str) -> None:
    assert config(f"name={text}").name == text
    assert config(f"tracking.experiment={text}").tracking.experiment == text


@pytest.mark.parametrize(
    "path",
    [
        "/tmp/a,b",
        "1_000",
        "/tmp/a=b",
        "/tmp/run(1)",
        "/tmp/墙 壁",
        "/tmp/[a]",
        "/tmp/{a}",
        "/tmp/a:b",
        "/tmp/it's",
        "/tmp/a\\b",
        "/tmp/$x",
    ],
)
def test_a_path_is_taken_as_it_was_typed(path: str) -> None:
    assert config(f"output={path}").output == Path(path)


def test_a_path_may_be_quoted_for_hydra_and_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert config("output='/tmp/it\\'s'").output == Path("/tmp/it's")
    assert config('output="/tmp/a b"').output == Path("/tmp/a b")
    assert config("output=~/x").output == Path("/home/me/x")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_text_that_python_gives_comes_back_whole(text: str) -> None:
    (found,) = assignments([f"tracking.experiment={override_text(text)}"], SweepConfig)
    assert found.value == text


def test_interpolation_works_in_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR", "0.01")
    monkeypatch.setenv("N", "3")
    monkeypatch.setenv("WHERE", "2025_11")
    found = compose(
        SweepConfig,
        [
            *SMOKE,
            "planners.gd.settings.lr=${oc.env:LR}",
            "seeds=${oc.env:N}",
            "output=/tmp/${oc.env:WHERE}",
            "max_rows=${oc.env:N}",
        ],
    )
    assert found.config.planners["gd"].settings["lr"] == 0.01
    assert found.forced["gd"]["lr"] == 0.01
    assert (found.config.seeds, found.config.output, found.config.max_rows) == ((0, 1, 2), Path("/tmp/2025_11"), 3)


@pytest.mark.parametrize("word", ["name=${oc.env:A_TOKEN}", "name=a-planted-1", "planners.gd.settings.odd=[x,planted-1]"])
def test_a_secret_of_the_environment_becomes_no_name(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("A_TOKEN", "planted-1")
    assert main(["sweep", "--dry-run", *SMOKE, word]) == 2
    error = capsys.readouterr().err
    assert "holds the secret of the environment variable A_TOKEN" in error
    assert "planted" not in error


def test_settings_may_be_given_together_and_taken_out() -> None:
    found = compose(SweepConfig, [*SMOKE, "planners.gd.settings={iterations: 4, lr: 0.5}"])
    assert found.forced == {"gd": {"iterations": 4, "lr": 0.5}}
    tuned = compose(COMMANDS["tune"], ["space=gd", "planner=gd", "~space.lr"])
    assert "lr" not in tuned.config.space  # pyright: ignore[reportAttributeAccessIssue, reportOperatorIssue]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["output=null"], "output 'null' is not a path: give e.g. output=FOLDER"),
        (["output="], "output '' is not a path"),
        (["output=s3://key:pw@b/x"], "'s3://b/x' is an address, not a path"),
        (["storage="], "storage '' is not a folder, a URI or null"),
        (
            ["tracking=false"],
            "not a group of keys (enabled, experiment, uri): give e.g. tracking.enabled=false",
        ),
        (["tracking=null"], "tracking null is not a group of keys"),
        (["tracking.enabled=off"], "tracking.enabled 'off' is not true or false"),
        (["+seedz=4"], "unknown config key 'seedz': did you mean 'seeds'"),
        (["++seedz=4"], "unknown config key 'seedz'"),
        (["space.noise.high=4"], "unknown config key 'space.noise.high': it is a key of grasp tune"),
        (["world_model.train.steps=4"], "it is a key of grasp train"),
        (["planners.cem.settings.samples=3"], "changes planner 'cem', but only gd is chosen: add it with planner="),
        (["tasks.push_t.horizons=[25]"], "changes task 'push_t', but only wall is chosen"),
        (["planners.gd.setings.lr=1"], "did you mean 'planners.gd.settings'"),
        (["backend=inline", "backend.num_workers=2"], "backend.num_workers does not go with the backend that is chosen"),
        (["seeds=[1,2]", "seeds.start=4"], "does not go with seeds=[1,2], which is a list"),
        (["seeds.stop=4"], "is not one of seeds.start and seeds.count"),
        (["seed=9223372036854775808"], "seed 9223372036854775808 is not a whole number"),
        (["seeds.start=9223372036854775807", "seeds.count=2"], "the largest seed is 9223372036854775807"),
        (["seeds=2000000000"], "is not a number of seeds, at most 1000000"),
        (["seeds=range(1000000000000)"], "has more than 1000000 values"),
        (["seeds=shuffle(range(1000000000000))"], "has more than 1000000 values"),
        (["planners.grasp.settings.lr_states=range(1e9)"], "has more than 1000000 values"),
        (["planners.grasp.settings.lr_states=range(1e400)"], "has more than 1000000 values"),
        (["seeds=range(1,2,0)"], "is not a list of values"),
        (["horizons=100000000"], "is not a positive number of steps up to 10000"),
        (["max_rows=1e23"], "max_rows 1e+23 is not a whole number from 1 to"),
        ([f"target_seconds={10**400}"], "is not a number of seconds"),
        (["max_rows=true"], "max_rows true is not a whole number"),
        (["max_rows='64'"], "max_rows '64' is not a whole number"),
        (["target_seconds=.inf"], "target_seconds"),
        (["backend=ray", "backend.num_workers=two"], "backend.num_workers 'two' is not a whole number"),
        (["backend=ray", "backend.num_workers=1.5"], "backend.num_workers 1.5 is not a whole number"),
        (["backend=ray", "backend.labels=x"], "backend.labels 'x' is not a group of keys"),
        (["backend=ray", "backend.wait_for_nodes=null"], "backend.wait_for_nodes null is not a number of seconds"),
        (["backend.name=foo"], "unknown backend 'foo': known are inline, ray"),
        (["~output"], "'~output' would remove output, which every run needs"),
        (["~backend"], "'~backend' would remove backend"),
        (["~max_rows"], "'~max_rows' would remove max_rows"),
        (["~planners.cem"], "removes planners.cem, which is not there"),
        (["hydra.run.dir=/tmp"], "sets Hydra itself"),
        (["task@other=wall"], "moves a group to another package"),
        (["planner=glob(*)"], "is not a list of values"),
        (["seeds=interval(0,1)"], "is not a list of values"),
        (["seeds"], "overrides look like key=value"),
        (["=3"], "overrides look like key=value"),
        (["a b=3"], "overrides look like key=value"),
        (["planner=[gd"], "cannot read 'planner=[gd'"),
        (["planner=gd]"], "cannot read 'planner=gd]'"),
        (["mode=[open_loop"], "cannot read 'mode=[open_loop'"),
        (
            ["seeds=[range(3)]"],
            "'seeds=[range(3)]' has one of Hydra's functions within a list or mapping: write its values out",
        ),
        (["horizons=10,[choice(1,2)]"], "has one of Hydra's functions within a list"),
        (["planners.gd.settings.lr=[{a: interval(0,1)}]"], "has one of Hydra's functions within a list"),
        (["horizons=["], "cannot read 'horizons=['"),
        (["planners.gd.settings.lr=a[b"], "quote it twice"),
        (["planners.gd.settings.lr=${oc.env:NO_SUCH}"], "Environment variable 'NO_SUCH' not found"),
        (["seed=${hydra:runtime.cwd}"], "HydraConfig was not set): fix what stands in"),
        (["output=${x}"], "Interpolation key 'x' not found"),
        (["name=a\udcff"], "name 'a\\udcff' is not a sweep name"),
        (["output=a\udcff"], "output 'a\\udcff' is not a path"),
        (["tracking.experiment=\udcff"], "is not an experiment's name"),
        (["name=.."], "sweep name '..' is not a file name"),
        (["name=."], "sweep name '.' is not a file name"),
        (["name="], "sweep name '' is not a file name"),
        ([f"name={'x' * 300}"], "is too long for a file name"),
    ],
)
def test_what_makes_no_sense_is_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--dry-run", *SMOKE, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "secret" not in error


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("name: gd\nsettings: {}\n", "lacks its header: its first line must be `# @package planners.mine`"),
        ("# @package planners.mine\nname: gd\nsettings:\n\tlr: 1\n", "line 4"),
        ("# @package planners.mine\nname: gd\nname: cem\n", "line 3"),
        ("# @package planners.mine\nname: gd\nsetings: {}\n", "mine.yaml"),
        ("# @package planners.mine\nname: 2025_11\n", "is not a planner's name (in a file, put it in quotes)"),
        ("# @package planners.mine\nname: gd\nsettings: {lr: [1, 2]}\n", "mine.yaml"),
    ],
)
def test_a_users_file_is_refused_with_its_place(
    body: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "planner").mkdir()
    (tmp_path / "planner" / "mine.yaml").write_text(body, encoding="utf-8")
    assert main(["sweep", "--dry-run", "--conf", str(tmp_path), "sweep=smoke", "planner=mine"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("data", ["name: gü\n".encode("latin-1"), "name: gd\n".encode("utf-16"), "\ufeffname: gd\n".encode()])
def test_a_users_file_in_another_encoding_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "planner").mkdir()
    (tmp_path / "planner" / "mine.yaml").write_bytes(data)
    with pytest.raises(UserError, match=r"mine\.yaml.*UTF-8"):
        compose(SweepConfig, ["planner=mine"], tmp_path)


def test_a_users_file_with_a_name_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "planner").mkdir()
    (tmp_path / "planner" / "gd.yaml").write_text("# @package planners.gd\nname: cem\n", encoding="utf-8")
    with pytest.raises(UserError, match="has the name of a planner of ours"):
        compose(SweepConfig, ["planner=gd"], tmp_path)


@pytest.mark.parametrize("command", ["report", "status", "export", "compare"])
def test_keys_without_effect_are_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a", "b"] if command == "compare" else ["a"]
    assert main([command, *names, "seeds=3"]) == 2
    assert "'seeds=3' has no effect here: give only output= or storage=" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_grasp_config_shows_every_key_with_its_source(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", command]) == 0
    text = capsys.readouterr().out
    top = {line.partition(":")[0] for line in text.partition("\n\n")[0].splitlines() if not line.startswith(" ")}
    assert top >= {"output", *({"tasks", "planners", "seeds"} if issubclass(COMMANDS[command], GridConfig) else ())}
    assert "conf/" in text
    yaml.safe_load(text.partition("\n\n")[0])


def test_grasp_config_of_a_text_of_two_lines_is_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "sweep", "goal_costs=a\nb", "planners.grasp.settings.noise_schedule='c\nd'"]) == 0
    values = yaml.safe_load(capsys.readouterr().out.partition("\n\n")[0])
    assert values["goal_costs"] == "a\nb"
    assert values["planners"]["grasp"]["settings"]["noise_schedule"] == "c\nd"


def test_grasp_config_spells_control_characters_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "tracking.experiment=\x1b[2J"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert yaml.safe_load(text.partition("\n\n")[0])["tracking"]["experiment"] == "\x1b[2J"


def test_grasp_config_tune_shows_the_space_that_the_study_would_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "tune", "planner=cem"]) == 0
    assert "conf/space/cem.yaml" in capsys.readouterr().out


def test_grasp_config_names_file_override_rule_and_tuned_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "task=wall", "planner=grasp", "horizons=[25,50]", "planners.grasp.settings.attempts=2"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "kind: shallow # conf/task/wall.yaml" in lines
    assert "horizons: [25, 50] # override horizons=[25,50]" in lines
    assert "attempts: 2 # override planners.grasp.settings.attempts=2" in lines
    assert "noise_schedule: cosine # tuned file conf/tuned/grasp/wall-25.yaml" in lines
    assert any(
        line.startswith("noise_schedule: linear # rule 1 of conf/planner/grasp.yaml") or "wall-50.yaml" in line
        for line in lines
    )


def test_a_sweep_without_seeds_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep").mkdir()
    body = "# @package _global_\ndefaults:\n- override /task: [wall]\n- override /planner: [gd]\nname: mine\nhorizons: [10]\n"
    (tmp_path / "sweep" / "mine.yaml").write_text(body, encoding="utf-8")
    assert main(["sweep", "--dry-run", "--conf", str(tmp_path), "sweep=mine", "tracking.enabled=false"]) == 2
    assert "sweep mine has no seeds: give seeds=16" in capsys.readouterr().err


def test_a_planner_of_the_study_whose_rules_are_no_list_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "quality", "planning_quality=quick", "planners.cem.overrides=1"]) == 0
    assert "overrides: 1" in capsys.readouterr().out
