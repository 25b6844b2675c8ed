"""A short run of the fuzzer of command lines, in this process, and what the long ones found."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.children import Room, run_here
from tests.fuzz.command_lines import Found, faults, look, note
from tests.fuzz.grammar import line
from tests.fuzz.small_files import run
from tests.fuzz.values import PASSWORD

COUNT, SEED = 16, 19


def test_command_lines_are_done_or_refused_in_one_sentence_and_ignore_no_key(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    found, room = Found(), Room(tmp_path / "room", tmp_path / "shared")
    for number in range(COUNT):
        each = line(Random(f"{SEED}/{number}"))
        ended = run_here(each.words, room, look(each))
        note(found, f"{number} of seed {SEED}", each, ended, faults(each, ended, room), print)
    assert found.faults == []
    assert found.ends["accepted"] > 3
    assert max(found.seconds) < 30


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["config", "horizons=range(0,1,0)"],
            "grasp: 'horizons=range(0,1,0)' is not a list of values: write horizons=[1,2,3].\n",
        ),
        (["config", "sweep=null"], "grasp: unknown sweep None: known are default, h100, h50, pixels, smoke.\n"),
        (["plan", "planner=null"], "grasp: unknown planner None: known are cem, "),
        (["config", "planners.cem.overrides=2"], "grasp: planners.cem.overrides 2 is not a list of groups of keys: "),
        (["config", "tune", "planners.gd.settings.lr=1", "planners=2"], "grasp: planners 2 is not a group of keys: "),
        (["sweep", "planners.gd.settings.lr=a\n,"], "grasp: cannot read 'planners.gd.settings.lr=a\\n,' ("),
        (
            ["report", f"output={'a' * 300}"],
            f"grasp: '{'a' * 300}' cannot be used (File name too long): give a shorter name.\n",
        ),
    ],
)
def test_what_was_found_is_refused_in_one_sentence(words: list[str], sentence: str) -> None:
    ended = run(words)
    assert ended.code == 2
    assert ended.said.startswith(sentence)
    assert ended.said.count("\n") == 1


def test_a_config_that_is_one_value_is_refused(tmp_path: Path) -> None:
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "mine.yaml").write_text("7", encoding="utf-8")
    ended = run(["config", "backend=mine", "--conf", str(tmp_path)])
    file = tmp_path / "backend" / "mine.yaml"
    assert ended.said == f"grasp: config '{file}' is not a group of keys: write lines KEY: VALUE.\n"


@pytest.mark.parametrize(
    "content",
    [
        "# @package _global_\ndefaults: 7\n",
        "# @package _global_\ndefaults: [{}]\n",
        "# @package _global_\ndefaults: [override /task: 0]\n",
        "# @package(_global_\nname: x\n",
        "# @package _global_@package _global_\nname: x\n",
        '# @package _global_\ndefaults: [override /task: ["\\0"]]\n',
    ],
)
def test_a_header_or_defaults_that_hydra_cannot_read_are_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(content, encoding="utf-8")
    ended = run(["config", "sweep=mine", "--conf", str(tmp_path)])
    assert ended.code == 2
    assert ended.said.startswith("grasp: the config cannot be composed (")
    assert f"correct the header or the defaults of '{tmp_path}'.\n" in ended.said
    assert ended.said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["wall", "train.trajectories=1.5"], "grasp: train.trajectories 1.5 does not fit: it should be a valid integer"),
        (["wall", "train.fit.steps=[1,x]"], "grasp: train.fit.steps (1, 'x') does not fit: it should be a valid integer"),
        (["push_t_pixels", "train.align=1"], "grasp: train.align 1 does not fit: it should be a valid boolean"),
        (["all", "world_model=wall"], "grasp: 'world_model=wall' names a model beside all: give grasp train MODEL alone.\n"),
    ],
)
def test_training_takes_settings_of_the_right_kind_and_one_model(words: list[str], sentence: str, tmp_path: Path) -> None:
    ended = run(["train", *words, f"output={tmp_path}/out"])
    assert ended.code == 2
    assert ended.said.startswith(sentence)
    assert ended.said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_planners_of_a_study_of_quality_can_be_overridden() -> None:
    word = "planners.gd.words=['planners.gd.settings.attempts=1']"
    assert "words: [planners.gd.settings.attempts=1]" in run(["config", "quality", "planning_quality=quick", word]).said


def test_a_space_of_null_is_the_planners_own() -> None:
    own, null = run(["config", "tune", "planner=gd"]), run(["config", "tune", "planner=gd", "space=null"])
    assert own.code == 0
    assert null == own


def test_an_address_among_a_planners_settings_is_masked_wherever_it_is_shown() -> None:
    ended = run(["config", "planner=cem", "task=wall", f"planners.cem.settings.max_seconds=http://me:{PASSWORD}@host/x"])
    assert PASSWORD not in ended.said
