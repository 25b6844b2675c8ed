"""The planning-quality study as `conf/quality.yaml` and a file of `conf/planning_quality` define it, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.cell import Scalar
from orchestrator.core.modes import OPEN_LOOP, ExecutionMode
from sweeps.config.axes import as_list, seeds_of
from sweeps.config.compose import compose
from sweeps.config.files import groups
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import QualityConfig
from sweeps.quality.fields import entries, mapping, positive_integer, positive_number, settings, string_list, text
from world_models.errors import UserError, brief, require
from world_models.tasks.base import LONGEST_HORIZON

GRASP = "grasp"
"""The planner that all others are compared with."""


@dataclass(frozen=True)
class TuningCondition:
    """A condition on which settings are tuned: one task file at one horizon, for the tests of some task files."""

    name: str
    task: str
    horizon: int
    """Environment steps."""
    serves: tuple[str, ...]
    """Task files whose tests use the settings; of several conditions, the one with the nearest horizon."""
    fixed: tuple[tuple[str, Scalar], ...]
    """Settings that are the same in all trials."""


@dataclass(frozen=True)
class HeldOutTest:
    """A test on problems that were not used to select anything."""

    task: str
    horizons: tuple[int, ...]
    seeds: tuple[int, ...]
    mode: str
    equal_seconds: bool
    """Whether the other planners are also tested within GRASP's seconds."""


@dataclass(frozen=True)
class Condition:
    """A task file at a horizon."""

    task: str
    horizon: int


@dataclass(frozen=True)
class Tuning:
    """The search for settings, the same for all planners and conditions."""

    trials: int
    top: int
    seeds: tuple[int, ...]
    choice_seeds: tuple[int, ...]
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Sensitivity:
    """Factors by which two settings of tuned GRASP are multiplied."""

    conditions: tuple[Condition, ...]
    count: int
    """Number of the test's seeds that are planned."""
    goal_weight: tuple[float, ...]
    noise: tuple[float, ...]


@dataclass(frozen=True)
class QualitySpec:
    """The whole study."""

    variant: str
    planners: Mapping[str, tuple[str, ...]]
    """Names of the conditions that each planner is tuned on, by label."""
    planner_overrides: Mapping[str, tuple[str, ...]]
    """Further overrides of a planner's studies, by label."""
    ours: tuple[str, ...]
    tuning: Tuning
    tuning_conditions: Mapping[str, TuningCondition]
    tests: tuple[HeldOutTest, ...]
    ablation_conditions: tuple[Condition, ...]
    changes: Mapping[str, Mapping[str, Scalar]]
    sensitivity: Sensitivity
    timed_attempts: int
    shown_failures: tuple[tuple[str, ...], int]
    diagnose: tuple[str, ...]
    targets: Mapping[str, Any]
    """Targets in the form that the results file keeps."""
    guessed_seconds: Mapping[str, float]
    """Seconds per problem of 50 steps on one core, by planner."""
    hours: float
    machine: str | None
    page: Path | None
    outputs: Outputs
    config: QualityConfig

    @property
    def folder(self) -> Path:
        """Folder of everything that the study generates."""
        return self.outputs.root / "quality"

    @property
    def page_folder(self) -> Path:
        """Folder of the page and its figures."""
        return self.page or self.folder

    def tuning_condition(self, task: str, horizon: int) -> TuningCondition:
        """The condition whose settings a test uses: that with the nearest horizon, and of two equally near ones the shorter."""
        serving = [condition for condition in self.tuning_conditions.values() if task in condition.serves]
        return min(serving, key=lambda each: (abs(each.horizon - horizon), each.horizon))

    def planners_at(self, task: str, horizon: int) -> tuple[str, ...]:
        """Planners of a test, GRASP first."""
        condition_name = self.tuning_condition(task, horizon).name
        return tuple(label for label, condition_names in self.planners.items() if condition_name in condition_names)

    def seeds_at(self, task: str, horizon: int) -> tuple[int, ...]:
        """Seeds of the open-loop test of a task and horizon; UserError where there is none."""
        for test in self.tests:
            if test.mode == OPEN_LOOP and test.task == task and horizon in test.horizons:
                return test.seeds
        raise UserError(
            f"no open-loop test has {task} at horizon {horizon}: add one to tests, or remove the entry that needs it."
        )


def read_quality(overrides: list[str], conf: Path | None) -> QualitySpec:
    """Compose and check the study before anything runs; UserError names what is wrong."""
    config = compose(QualityConfig, overrides, conf).config
    known = groups(conf)
    tuning_conditions = {
        str(name): _tuning_condition(str(name), raw, known["task"]) for name, raw in mapping("places", config.places).items()
    }
    planners = _planners(config.planners, tuning_conditions, known["planner"])
    tests = tuple(_test(where, raw, known["task"]) for where, raw in entries("tests", config.tests, TEST_KEYS))
    ablation = mapping("ablation", config.ablation, ("at", "changes"))
    changes = mapping("ablation.changes", ablation.get("changes"))
    spec = QualitySpec(
        variant=config.variant,
        planners=planners,
        planner_overrides={
            label: string_list(f"planners.{label}.words", mapping(f"planners.{label}", raw).get("words"))
            for label, raw in mapping("planners", config.planners).items()
        },
        ours=string_list("ours", config.ours, known["planner"]),
        tuning=_tuning(config.tuning),
        tuning_conditions=tuning_conditions,
        tests=tests,
        ablation_conditions=_conditions("ablation.at", ablation.get("at"), known["task"]),
        changes={str(name): settings(f"ablation.changes.{name}", raw) for name, raw in changes.items()},
        sensitivity=_sensitivity(config.sensitivity, known["task"]),
        timed_attempts=positive_integer(
            "equal_seconds", mapping("equal_seconds", config.equal_seconds, ("attempts",)), "attempts"
        ),
        shown_failures=_shown_failures(config.worst, planners),
        diagnose=string_list("diagnose", config.diagnose, known["task"]),
        targets=_targets(config, known["task"], planners),
        guessed_seconds={
            name: positive_number(f"guess.{name}", value) for name, value in mapping("guess", config.guess).items()
        },
        hours=config.hours,
        machine=config.machine,
        page=config.page,
        outputs=Outputs.of(config),
        config=config,
    )
    _check(spec)
    return spec


TEST_KEYS = ("task", "horizons", "seeds", "mode", "equal_seconds")
TUNING_CONDITION_KEYS = ("task", "horizon", "for", "settings")


def _tuning_condition(name: str, raw: object, tasks: tuple[str, ...]) -> TuningCondition:
    where = f"places.{name}"
    found = mapping(where, raw, TUNING_CONDITION_KEYS)
    task = text(where, found, "task", tasks)
    serves = string_list(f"{where}.for", found.get("for", [task]), tasks)
    fixed = settings(f"{where}.settings", found.get("settings"))
    return TuningCondition(name, task, positive_integer(where, found, "horizon"), serves, tuple(fixed.items()))


def _planners(
    raw: object, tuning_conditions: Mapping[str, TuningCondition], known: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    found = mapping("planners", raw, known)
    require(next(iter(found), None) == GRASP, f"planners begins with {next(iter(found), None)!r}: put grasp first.")
    return {
        label: string_list(
            f"planners.{label}.places", mapping(f"planners.{label}", each, ("places", "words")).get("places"), tuning_conditions
        )
        or tuple(tuning_conditions)
        for label, each in found.items()
    }


def _is_horizon(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LONGEST_HORIZON


def _test(where: str, raw: Mapping[str, object], tasks: tuple[str, ...]) -> HeldOutTest:
    horizons = raw.get("horizons")
    sound = isinstance(horizons, list) and bool(horizons) and all(_is_horizon(each) for each in horizons)
    require(sound, f"{where} has horizons {brief(horizons)}: give a list of whole numbers above 0, e.g. [25, 50].")
    assert isinstance(horizons, list)
    mode, equal = str(raw.get("mode", OPEN_LOOP)), raw.get("equal_seconds", False)
    ExecutionMode.of(mode)
    require(isinstance(equal, bool), f"{where} has equal_seconds {equal!r}: give true or false.")
    require(not equal or mode == OPEN_LOOP, f"{where} has equal_seconds in mode {mode}: it is for open_loop only.")
    return HeldOutTest(text(where, raw, "task", tasks), tuple(horizons), seeds_of(raw.get("seeds")), mode, bool(equal))


def _tuning(raw: object) -> Tuning:
    found = mapping("tuning", raw, ("trials", "top", "seeds", "choice_seeds", "words"))
    return Tuning(
        positive_integer("tuning", found, "trials"),
        positive_integer("tuning", found, "top"),
        seeds_of(found.get("seeds")),
        seeds_of(found.get("choice_seeds")),
        string_list("tuning.words", found.get("words")),
    )


def _conditions(where: str, raw: object, tasks: tuple[str, ...]) -> tuple[Condition, ...]:
    found = entries(where, raw, ("task", "horizon"))
    return tuple(Condition(text(at, each, "task", tasks), positive_integer(at, each, "horizon")) for at, each in found)


def _sensitivity(raw: object, tasks: tuple[str, ...]) -> Sensitivity:
    found = mapping("sensitivity", raw, ("at", "count", "goal_weight", "noise"))
    goal_weight, noise = (
        tuple(positive_number(f"sensitivity.{name}", value) for value in as_list(found.get(name)))
        for name in ("goal_weight", "noise")
    )
    return Sensitivity(
        _conditions("sensitivity.at", found.get("at"), tasks),
        positive_integer("sensitivity", found, "count"),
        goal_weight,
        noise,
    )


def _shown_failures(raw: object, planners: Mapping[str, object]) -> tuple[tuple[str, ...], int]:
    found = mapping("worst", raw, ("planners", "count"))
    return string_list("worst.planners", found.get("planners"), tuple(planners)), positive_integer("worst", found, "count")


def _targets(config: QualityConfig, tasks: tuple[str, ...], planners: Mapping[str, object]) -> dict[str, Any]:
    targets, faster = [], []
    for where, raw in entries("targets", config.targets, ("task", "horizon", "mode", "at_least")):
        mode = str(raw.get("mode", OPEN_LOOP))
        ExecutionMode.of(mode)
        target = {"task": text(where, raw, "task", tasks), "horizon": positive_integer(where, raw, "horizon"), "mode": mode}
        targets.append({**target, "at_least": positive_number(f"{where}.at_least", raw.get("at_least"))})
    for where, raw in entries("faster", config.faster, ("task", "horizon", "than", "share")):
        target = {"task": text(where, raw, "task", tasks), "horizon": positive_integer(where, raw, "horizon")}
        than = text(where, raw, "than", tuple(planners))
        faster.append({**target, "than": than, "share": positive_number(f"{where}.share", raw.get("share"))})
    return {"targets": targets, "faster": faster}


def _check(spec: QualitySpec) -> None:
    """Check entries against each other; UserError names the first that does not fit."""
    require(bool(spec.tests), "the study has no test: give tests, e.g. - {task: push_t, horizons: [50], seeds: 32}.")
    chosen_on = {"tuning.seeds": spec.tuning.seeds, "tuning.choice_seeds": spec.tuning.choice_seeds}
    tested = {seed for test in spec.tests for seed in test.seeds}
    for name, seeds in chosen_on.items():
        both = sorted(tested & set(seeds))
        require(
            not both,
            f"seed {both[0] if both else 0} is in {name} and in a test: settings must be judged on seeds that they were not "
            f"tuned on; give {name} another start.",
        )
    seen: set[tuple[str, int, str]] = set()
    for test in spec.tests:
        serving = any(test.task in tuning_condition.serves for tuning_condition in spec.tuning_conditions.values())
        require(serving, f"the test of {test.task} has no settings: add the task to `for` of an entry of places.")
        for horizon in test.horizons:
            key = (test.task, horizon, test.mode)
            require(key not in seen, f"{test.task} at horizon {horizon} ({test.mode}) is tested twice: name it once.")
            seen.add(key)
    for tuned_on in spec.tuning_conditions.values():
        if (tuned_on.task, tuned_on.horizon, OPEN_LOOP) not in seen:
            raise UserError(
                f"places.{tuned_on.name} tunes on {tuned_on.task} at horizon {tuned_on.horizon}, which no test has: "
                "add it to tests, or remove the entry."
            )
    for condition in (*spec.ablation_conditions, *spec.sensitivity.conditions):
        spec.seeds_at(condition.task, condition.horizon)
    for target in (*spec.targets["targets"], *spec.targets["faster"]):
        key = (target["task"], target["horizon"], target.get("mode", OPEN_LOOP))
        require(key in seen, f"a target is about {key[0]} at horizon {key[1]} ({key[2]}), which no test has: add it to tests.")
    races: set[tuple[str, int, str]] = set()
    for target in spec.targets["faster"]:
        race = (target["task"], target["horizon"], target["than"])
        where = f"{race[0]} at horizon {race[1]}"
        require(race not in races, f"faster names {race[2]} on {where} twice: name it once.")
        require(
            race[2] in spec.planners_at(*race[:2]),
            f"faster compares with {race[2]} on {where}, where it is not tuned: tune it there, or remove the entry.",
        )
        races.add(race)
