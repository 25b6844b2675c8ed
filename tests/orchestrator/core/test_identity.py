"""Identity across upgrades: new settings change no id, another algorithm changes its own, and nothing changes unnoticed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.cell import Named, Point
from planners import GRASP, PLANNERS, GraspSettings, full_settings
from planners.identity import FROZEN, algorithm_version, identity_settings
from planners.settings import Scalar, Settings, number
from tests.golden.make_identities import IDENTITIES, freeze, ids, points

GOLDEN = json.loads(IDENTITIES.read_text(encoding="utf-8"))
RULE = (
    "These cells have other ids than before, so every ledger would plan them anew: put the default back if that was not meant, "
    "raise `algorithm_version` in the planner's settings class if it plans otherwise now, "
    "and write the new ids down with `python -m tests.golden.make_identities`: "
)


def of(name: str, given: Mapping[str, Scalar]) -> str:
    """The id of a point on the wall."""
    return replace(points()["grasp"], planner=Named.of(name, given), algorithm_version=algorithm_version(name)).point_id


def test_ids_are_those_that_were_written_down() -> None:
    now = ids()
    changed = [label for label in GOLDEN if now.get(label) != GOLDEN[label]]
    assert not changed, RULE + ", ".join(changed)
    assert now == GOLDEN, "write the ids of new cells down: python -m tests.golden.make_identities"


def test_every_setting_of_every_planner_has_a_frozen_default() -> None:
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    grown = json.loads(FROZEN.read_text(encoding="utf-8"))
    freeze(grown)
    assert grown == frozen, "planners/frozen_defaults.json lacks a setting or version: python -m tests.golden.make_identities"
    for name, (kind, _) in PLANNERS.items():
        tables = frozen[name][str(kind.algorithm_version)]
        known = {**tables["always"], **tables["unless_default"]}
        other = [one.name for one in fields(kind) if one.default != known[one.name]]
        assert not other, f"{RULE}{name} with another default of {', '.join(other)}"


@dataclass(frozen=True)
class Grown(GraspSettings):
    """GRASP's settings, and one more."""

    caution: float = number(0.25, by_row=False)


@dataclass(frozen=True)
class Bumped(GraspSettings):
    """GRASP's settings, of a planner that plans otherwise."""

    algorithm_version = 2


@dataclass(frozen=True)
class Redefined(GraspSettings):
    """GRASP's settings with another default."""

    noise: float = number(0.07)


def test_a_new_setting_with_a_default_changes_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANNERS, "grasp", (Grown, GRASP))
    assert "caution" in full_settings("grasp")
    assert ids() == GOLDEN
    assert of("grasp", full_settings("grasp", {"caution": 0.5})) != of("grasp", full_settings("grasp"))


def test_another_algorithm_version_changes_the_planners_ids_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {name: of(name, full_settings(name)) for name in PLANNERS}
    monkeypatch.setitem(PLANNERS, "grasp", (Bumped, GRASP))
    now = {name: of(name, full_settings(name)) for name in PLANNERS}
    assert [name for name in PLANNERS if now[name] != others[name]] == ["grasp"]
    assert all(cell != GOLDEN[label] for label, cell in ids().items() if label.split(",")[0] == "grasp")


def test_a_new_setting_of_a_bumped_planner_changes_no_id_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANNERS, "grasp", (Bumped, GRASP))
    before = ids()

    @dataclass(frozen=True)
    class BumpedAndGrown(Bumped):
        caution: float = number(0.25, by_row=False)

    monkeypatch.setitem(PLANNERS, "grasp", (BumpedAndGrown, GRASP))
    assert ids() == before


def test_another_default_lets_no_earlier_result_pass_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = full_settings("grasp")
    recorded = of("grasp", before)
    monkeypatch.setitem(PLANNERS, "grasp", (Redefined, GRASP))
    assert full_settings("grasp")["noise"] == 0.07
    assert of("grasp", full_settings("grasp")) != recorded
    assert of("grasp", before) == recorded == of("grasp", {}), (
        "a record that lacks the setting was planned with the old default"
    )


def test_a_planner_without_frozen_defaults_is_what_differs_from_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Mine(Settings):
        gain: float = number(2.0)

    monkeypatch.setitem(PLANNERS, "mine", (Mine, GRASP))
    assert identity_settings("mine", 1, {"gain": 2.0}) == identity_settings("mine", 1, {}) == {}
    assert identity_settings("mine", 1, {"gain": 3.0}) == {"gain": 3.0}
    assert identity_settings("unknown", 1, {"gain": 2.0}) == {"gain": 2.0}, "of an unknown planner no default is known"


CHANGES = st.fixed_dictionaries(
    {}, optional={"noise": st.floats(0, 1), "iterations": st.integers(25, 99), "double_last": st.booleans()}
)


@settings(max_examples=10, deadline=None)
@given(CHANGES, CHANGES)
def test_an_id_says_the_settings_whether_defaults_are_written_or_not(one: dict, other: dict) -> None:
    assert of("grasp", one) == of("grasp", full_settings("grasp", one))
    assert (of("grasp", one) == of("grasp", other)) == (full_settings("grasp", one) == full_settings("grasp", other))


def test_a_point_saved_before_there_were_versions_is_of_version_one() -> None:
    point = points()["grasp"]
    raw = {name: vars(value) if isinstance(value, Named) else value for name, value in vars(point).items()}
    old = {name: raw[name] for name in ("task", "model", "model_digest", "planner", "horizon", "mode")}
    assert Point.of_plain(old) == point
    assert Point.of_plain(old).point_id == point.point_id


def test_the_history_mode_counts_unless_it_repeats() -> None:
    point = points()["grasp"]
    assert replace(point, history="repeat").point_id == point.point_id, "as before there were modes"
    assert len({replace(point, history=text).point_id for text in ("repeat", "repeat:1", "grow", "grow:1", "grow:2")}) == 5


def test_each_noise_of_a_problem_has_a_seed_of_its_own() -> None:
    point = points()["grasp"]
    assert [point.cell(seed).planner_seed for seed in range(3)] == [0, 1, 2]
    seeds = {replace(point, noise_seed=noise).cell(seed).planner_seed for noise in range(20) for seed in range(20)}
    assert len(seeds) == 400
    assert replace(point, noise_seed=0).cell(0).planner_seed == 276989614492171, "what is recorded depends on it"
