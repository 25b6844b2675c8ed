"""What the study of planning quality is, as `conf/quality.yaml` and a file of `conf/planning_quality` say, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.cell import OPEN_LOOP, Scalar, replan_every
from sweeps.config.axes import as_list, seeds_of
from sweeps.config.compose import compose, groups
from sweeps.config.jobs import whole_number
from sweeps.config.outputs import Outputs
from sweeps.quality.fields import entries, mapping, positive, settings, text, whole, words
from world_models.errors import UserError, require

GRASP = "grasp"
"""The planner that all others are compared with."""


@dataclass(frozen=True)
class Place:
    """Where settings are tuned: one task file at one horizon, for tests of some task files."""

    name: str
    task: str
    horizon: int
    """Environment steps."""
    serves: tuple[str, ...]
    """Task files whose tests take the settings; of several places the one with the nearest horizon."""
    fixed: tuple[tuple[str, Scalar], ...]
    """Settings that are the same in all trials."""


@dataclass(frozen=True)
class Problems:
    """A test: problems that nothing was chosen on."""

    task: str
    horizons: tuple[int, ...]
    seeds: tuple[int, ...]
    mode: str
    equal_seconds: bool
    """Whether the others are also planned within GRASP's seconds."""


@dataclass(frozen=True)
class Spot:
    """A task file at a horizon."""

    task: str
    horizon: int


@dataclass(frozen=True)
class Tuning:
    """How settings are searched, alike for all planners and places."""

    trials: int
    top: int
    seeds: tuple[int, ...]
    choice: tuple[int, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Sensitivity:
    """Factors on two settings of tuned GRASP."""

    at: tuple[Spot, ...]
    count: int
    """How many of the test's seeds."""
    goal_weight: tuple[float, ...]
    noise: tuple[float, ...]


@dataclass(frozen=True)
class QualitySpec:
    """The whole study."""

    variant: str
    planners: Mapping[str, tuple[str, ...]]
    """By label, the places each is tuned at."""
    planner_words: Mapping[str, tuple[str, ...]]
    """By label, further overrides of its studies."""
    ours: tuple[str, ...]
    tuning: Tuning
    places: Mapping[str, Place]
    tests: tuple[Problems, ...]
    ablation_at: tuple[Spot, ...]
    changes: Mapping[str, Mapping[str, Scalar]]
    sensitivity: Sensitivity
    timed_attempts: int
    worst: tuple[tuple[str, ...], int]
    diagnose: tuple[str, ...]
    aims: Mapping[str, Any]
    """Targets, as the results file keeps them."""
    guess: Mapping[str, float]
    """Seconds a problem of 50 steps on one core, by planner."""
    hours: float
    machine: str | None
    page: Path | None
    outputs: Outputs
    values: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where what the study generates lies."""
        return self.outputs.root / "quality"

    @property
    def page_folder(self) -> Path:
        """Where page and figures go."""
        return self.page or self.folder

    def place_of(self, task: str, horizon: int) -> Place:
        """Where the settings of a test come from: the nearest horizon, of two as near the shorter."""
        serving = [place for place in self.places.values() if task in place.serves]
        return min(serving, key=lambda place: (abs(place.horizon - horizon), place.horizon))

    def planners_at(self, task: str, horizon: int) -> tuple[str, ...]:
        """Planners of a test, GRASP first."""
        place = self.place_of(task, horizon).name
        return tuple(label for label, places in self.planners.items() if place in places)

    def seeds_at(self, task: str, horizon: int) -> tuple[int, ...]:
        """Seeds of the open-loop test of a task and horizon; UserError where there is none."""
        for test in self.tests:
            if test.mode == OPEN_LOOP and test.task == task and horizon in test.horizons:
                return test.seeds
        raise UserError(f"no open-loop test has {task} at horizon {horizon}: add one to tests, or take this out.")


def read_quality(overrides: list[str], conf: Path | None) -> QualitySpec:
    """Compose and check the study before anything runs; UserError names what is wrong."""
    values: Mapping[str, Any] = compose("quality", overrides, conf).values
    known = groups(conf)
    places = {str(name): _place(str(name), raw, known["task"]) for name, raw in mapping("places", values["places"]).items()}
    planners = _planners(values["planners"], places, known["planner"])
    tests = tuple(_test(where, raw, known["task"]) for where, raw in entries("tests", values["tests"], TEST_KEYS))
    changes = mapping("ablation.changes", mapping("ablation", values["ablation"], ("at", "changes")).get("changes"))
    spec = QualitySpec(
        variant=str(values["variant"]),
        planners=planners,
        planner_words={
            label: words(f"planners.{label}.words", (raw or {}).get("words")) for label, raw in values["planners"].items()
        },
        ours=words("ours", values["ours"], known["planner"]),
        tuning=_tuning(values["tuning"]),
        places=places,
        tests=tests,
        ablation_at=_spots("ablation.at", values["ablation"].get("at"), known["task"]),
        changes={str(name): settings(f"ablation.changes.{name}", raw) for name, raw in changes.items()},
        sensitivity=_sensitivity(values["sensitivity"], known["task"]),
        timed_attempts=whole("equal_seconds", mapping("equal_seconds", values["equal_seconds"], ("attempts",)), "attempts"),
        worst=_worst(values["worst"], planners),
        diagnose=words("diagnose", values["diagnose"], known["task"]),
        aims=_aims(values, known["task"], planners),
        guess={name: positive(f"guess.{name}", value) for name, value in mapping("guess", values["guess"]).items()},
        hours=positive("hours", values["hours"]),
        machine=None if values["machine"] is None else str(values["machine"]),
        page=None if values["page"] is None else Path(str(values["page"])),
        outputs=Outputs.of(values),
        values=values,
    )
    _check(spec)
    return spec


TEST_KEYS = ("task", "horizons", "seeds", "mode", "equal_seconds")
PLACE_KEYS = ("task", "horizon", "for", "settings")


def _place(name: str, raw: object, tasks: tuple[str, ...]) -> Place:
    where = f"places.{name}"
    found = mapping(where, raw, PLACE_KEYS)
    task = text(where, found, "task", tasks)
    serves = words(f"{where}.for", found.get("for", [task]), tasks)
    fixed = settings(f"{where}.settings", found.get("settings"))
    return Place(name, task, whole(where, found, "horizon"), serves, tuple(fixed.items()))


def _planners(raw: object, places: Mapping[str, Place], known: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found = mapping("planners", raw, known)
    require(next(iter(found), None) == GRASP, f"planners begins with {next(iter(found), None)!r}: put grasp first.")
    return {
        label: words(f"planners.{label}.places", mapping(f"planners.{label}", each, ("places", "words")).get("places"), places)
        or tuple(places)
        for label, each in found.items()
    }


def _test(where: str, raw: Mapping[str, object], tasks: tuple[str, ...]) -> Problems:
    horizons = raw.get("horizons")
    sound = isinstance(horizons, list) and bool(horizons) and all(isinstance(h, int) and h > 0 for h in horizons)
    require(sound, f"{where} has horizons {horizons!r}: give some, e.g. [25, 50].")
    assert isinstance(horizons, list)
    mode, equal = str(raw.get("mode", OPEN_LOOP)), raw.get("equal_seconds", False)
    replan_every(mode)
    require(isinstance(equal, bool), f"{where} has equal_seconds {equal!r}: give true or false.")
    require(not equal or mode == OPEN_LOOP, f"{where} has equal_seconds in mode {mode}: it is for open_loop only.")
    return Problems(text(where, raw, "task", tasks), tuple(horizons), seeds_of(raw.get("seeds")), mode, bool(equal))


def _tuning(raw: object) -> Tuning:
    found = mapping("tuning", raw, ("trials", "top", "seeds", "choice_seeds", "words"))
    return Tuning(
        whole_number("tuning.trials", found.get("trials")),
        whole_number("tuning.top", found.get("top")),
        seeds_of(found.get("seeds")),
        seeds_of(found.get("choice_seeds")),
        words("tuning.words", found.get("words")),
    )


def _spots(where: str, raw: object, tasks: tuple[str, ...]) -> tuple[Spot, ...]:
    found = entries(where, raw, ("task", "horizon"))
    return tuple(Spot(text(at, each, "task", tasks), whole(at, each, "horizon")) for at, each in found)


def _sensitivity(raw: object, tasks: tuple[str, ...]) -> Sensitivity:
    found = mapping("sensitivity", raw, ("at", "count", "goal_weight", "noise"))
    goal_weight, noise = (
        tuple(positive(f"sensitivity.{name}", value) for value in as_list(found.get(name))) for name in ("goal_weight", "noise")
    )
    return Sensitivity(
        _spots("sensitivity.at", found.get("at"), tasks), whole("sensitivity", found, "count"), goal_weight, noise
    )


def _worst(raw: object, planners: Mapping[str, object]) -> tuple[tuple[str, ...], int]:
    found = mapping("worst", raw, ("planners", "count"))
    return words("worst.planners", found.get("planners"), tuple(planners)), whole("worst", found, "count")


def _aims(values: Mapping[str, Any], tasks: tuple[str, ...], planners: Mapping[str, object]) -> dict[str, Any]:
    targets, faster = [], []
    for where, raw in entries("targets", values["targets"], ("task", "horizon", "mode", "at_least")):
        mode = str(raw.get("mode", OPEN_LOOP))
        replan_every(mode)
        aim = {"task": text(where, raw, "task", tasks), "horizon": whole(where, raw, "horizon"), "mode": mode}
        targets.append({**aim, "at_least": positive(f"{where}.at_least", raw.get("at_least"))})
    for where, raw in entries("faster", values["faster"], ("task", "horizon", "than", "share")):
        aim = {"task": text(where, raw, "task", tasks), "horizon": whole(where, raw, "horizon")}
        than = text(where, raw, "than", tuple(planners))
        faster.append({**aim, "than": than, "share": positive(f"{where}.share", raw.get("share"))})
    return {"targets": targets, "faster": faster}


def _check(spec: QualitySpec) -> None:
    """What no single entry shows; UserError."""
    require(bool(spec.tests), "the study has no test: give tests, e.g. - {task: push_t, horizons: [50], seeds: 32}.")
    chosen_on = {"tuning.seeds": spec.tuning.seeds, "tuning.choice_seeds": spec.tuning.choice}
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
        serving = any(test.task in place.serves for place in spec.places.values())
        require(serving, f"the test of {test.task} has no settings: name it in a place's `for`.")
        for horizon in test.horizons:
            key = (test.task, horizon, test.mode)
            require(key not in seen, f"{test.task} at horizon {horizon} ({test.mode}) is tested twice: name it once.")
            seen.add(key)
    for place in spec.places.values():
        if (place.task, place.horizon, OPEN_LOOP) not in seen:
            raise UserError(
                f"place {place.name!r} tunes on {place.task} at horizon {place.horizon}, which no test has: "
                "add it to tests, or take the place out."
            )
    for spot in (*spec.ablation_at, *spec.sensitivity.at):
        spec.seeds_at(spot.task, spot.horizon)
    for aim in (*spec.aims["targets"], *spec.aims["faster"]):
        key = (aim["task"], aim["horizon"], aim.get("mode", OPEN_LOOP))
        require(key in seen, f"a target is about {key[0]} at horizon {key[1]} ({key[2]}), which no test has: add it to tests.")
    races: set[tuple[str, int, str]] = set()
    for aim in spec.aims["faster"]:
        race = (aim["task"], aim["horizon"], aim["than"])
        where = f"{race[0]} at horizon {race[1]}"
        require(race not in races, f"faster names {race[2]} on {where} twice: name it once.")
        require(race[2] in spec.planners_at(*race[:2]), f"faster compares with {race[2]} on {where}, where it is not tuned.")
        races.add(race)
