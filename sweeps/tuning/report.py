"""A study's report: a table of candidates, a table of pairwise comparisons, and the winner as a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.core.cell import Scalar
from orchestrator.core.provenance import git_revision
from planners import full_settings
from sweeps.analysis.intervals import Paired
from sweeps.console import terminal
from sweeps.tuning.rounding import rounding_words
from sweeps.tuning.spec import StudySpec
from sweeps.tuning.verdict import Judged, Rounded, Standing, Verdict, order_kept
from sweeps.tuning.winner import WINNER, Candidate, HeldOut, Numbers, RoundedCandidate, StudyReport, Versus
from world_models.files.reading import to_json
from world_models.files.writing import write_file

CAPTION = (
    "tuned: success on the tuning seeds; choice: on the seeds for selecting the winner; held out: on seeds that were used for "
    "neither, with Wilson's 95 % interval; luck: tuned minus held out; vs default: paired difference on the held-out problems, "
    "with a 95 % interval; s/plan: mean planning seconds per problem."
)
"""Explanation of the table's columns."""

HELD_OUT = "held_out.json"
"""Name of the file with the table of candidates in a study's folder."""


@dataclass(frozen=True)
class HeldOutTable:
    """The candidates as a table that MLflow's UI shows (a data frame's `split` form)."""

    columns: tuple[str, ...]
    data: tuple[tuple[Scalar, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.data):
            raise ValueError("a row has another number of values than there are columns")


def candidates_table(spec: StudySpec, verdict: Verdict) -> Table:
    """The table with one row per candidate, the winner first."""
    seed_split = spec.seed_split
    title = f"study {spec.name}: the best of {spec.plan.total} trials"
    table = Table(title=title, title_justify="left", caption=CAPTION, caption_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("settings", no_wrap=True)
    table.add_column(f"tuned, n {len(seed_split.tuning)}", justify="right")
    table.add_column(f"choice, n {len(seed_split.choice)}", justify="right")
    table.add_column(f"held out [95 %], n {len(seed_split.held_out)}", justify="right", no_wrap=True)
    table.add_column("luck", justify="right")
    table.add_column("vs default", no_wrap=True)
    names = [objective.name for objective in spec.definition.objectives if objective.name not in ("success", "seconds")]
    for name in names:
        table.add_column(f"{name}, held out", justify="right")
    table.add_column("s/plan", justify="right")
    for standing in verdict.standings:
        own = [f"{standing.held_out.values[name]:.3g}" for name in names]
        table.add_row(*_fields(standing), *own, f"{standing.held_out.values['seconds']:.2f}")
    return table


def _fields(standing: Standing) -> list[str]:
    rate, (low, high) = standing.held_out.success, standing.held_out.success.interval
    return [
        standing.label,
        _share(standing.tuning),
        _share(standing.choice),
        f"{rate.value:.2f} [{low:.2f}, {high:.2f}]",
        "-" if standing.optimism is None else f"{standing.optimism:+.2f}",
        difference(standing.held_out.versus),
    ]


def _share(judged: Judged | None) -> str:
    return "-" if judged is None or judged.success.value is None else f"{judged.success.value:.2f}"


def difference(versus: Paired | None) -> str:
    """A paired difference with its interval, as text."""
    if versus is None or versus.difference is None:
        return ""
    low, high = versus.interval
    return f"{versus.difference:+.2f} [{low:+.2f}, {high:+.2f}]"


def pairwise_table(verdict: Verdict) -> Table:
    """The candidates against each other: success of the row's minus the column's, on the held-out problems."""
    labels = [standing.label for standing in verdict.standings]
    table = Table(
        title="held-out success of the row's settings minus the column's, paired, with 95 % intervals",
        title_justify="left",
        pad_edge=False,
        box=SIMPLE_HEAD,
    )
    table.add_column("", no_wrap=True)
    for label in labels[1:]:
        table.add_column(label, justify="right", no_wrap=True)
    for row, label in enumerate(labels[:-1]):
        blanks = [""] * row
        table.add_row(label, *blanks, *(difference(verdict.pairwise[(label, other)]) for other in labels[row + 1 :]))
    return table


def conclusion(spec: StudySpec, verdict: Verdict) -> str:
    """The conclusion, in a sentence or two."""
    winner, objectives = verdict.winner, spec.definition.objectives
    if len(objectives) > 1:
        front = front_points(verdict)
        kept = order_kept(front, objectives)
        said = f"the front has {len(front)} points"
        said += "" if kept is None else f", whose order is the same on held-out seeds in {kept:.0%} of pairs"
        rounded = [standing.rounded for standing in front if standing.rounded]
        if rounded:
            said += f"; {sum(each.alike for each in rounded)} of {len(rounded)} succeed alike with {rounded[0].digits} digits"
        return f"{said}. Take one with: grasp tune apply {spec.name} --trial N"
    versus = winner.held_out.versus
    if versus is None:
        return f"the planner's own settings are the best on the choice seeds: {spec.plan.total} trials found nothing better."
    low, high = versus.interval
    clear = "better than" if low > 0 else "worse than" if high < 0 else "not distinguishable from"
    return (
        f"{winner.label} is {clear} the planner's own settings on held-out seeds ({difference(versus)}). "
        f"{_rounding(winner)}Take it with: grasp tune apply {spec.name}"
    )


def _rounding(standing: Standing) -> str:
    """The result of rounding as a sentence; empty if nothing was rounded."""
    rounded = standing.rounded
    if rounded is None:
        return ""
    rates = (rounded.held_out.success.value or 0.0, standing.held_out.success.value or 0.0)
    return f"{rounding_words(rounded.digits, rounded.alike, *rates, rounded.versus_unrounded.p_value)} "


def front_points(verdict: Verdict) -> list[Standing]:
    """The candidates that are trials."""
    return [standing for standing in verdict.standings if standing.trial is not None]


def show(spec: StudySpec, verdict: Verdict, console: Console) -> None:
    """Print the tables and the conclusion."""
    terminal.show(console, candidates_table(spec, verdict), width=130)
    if len(verdict.standings) > 2:
        terminal.show(console, pairwise_table(verdict), width=40 + 24 * len(verdict.standings))
    terminal.say(console, conclusion(spec, verdict))


def headline(spec: StudySpec, verdict: Verdict) -> str:
    """Markdown for the study's page: the table without the rest, and the conclusion."""
    lines = ["| settings | tuned | held out | 95 % interval | n | vs default |", "|---|---|---|---|---|---|"]
    for standing in verdict.standings:
        rate, (low, high) = standing.held_out.success, standing.held_out.success.interval
        lines.append(
            f"| {standing.label} | {_share(standing.tuning)} | {rate.value:.2f} | {low:.2f} to {high:.2f} | {rate.trials} | "
            f"{difference(standing.held_out.versus)} |"
        )
    return "\n".join([*lines, "", conclusion(spec, verdict)])


def _held_out_table(verdict: Verdict) -> HeldOutTable:
    settings = list(dict.fromkeys(name for standing in verdict.standings for name in standing.settings))
    columns = [
        "settings",
        "tuned",
        "choice",
        "held_out",
        "low",
        "high",
        "n",
        "vs_default",
        "vs_low",
        "vs_high",
        "seconds",
        *settings,
    ]
    rows = []
    for standing in verdict.standings:
        rate, versus = standing.held_out.success, standing.held_out.versus
        ends = (None, None) if versus is None else versus.interval
        rows.append(
            [
                standing.label,
                None if standing.tuning is None else standing.tuning.success.value,
                standing.choice.success.value,
                rate.value,
                *rate.interval,
                rate.trials,
                None if versus is None else versus.difference,
                *ends,
                standing.held_out.values["seconds"],
                *(standing.settings.get(name) for name in settings),
            ]
        )
    return HeldOutTable(tuple(columns), tuple(map(tuple, rows)))


def as_json(spec: StudySpec, verdict: Verdict) -> StudyReport:
    """The verdict as JSON, for `grasp tune apply` and other programs."""
    return {
        "study": spec.name,
        "planner": spec.planner.planner.name,
        "label": spec.planner.label,
        "places": [
            {"task": entry.task, "horizon": entry.point.horizon, "model": entry.point.model, "digest": entry.point.model_digest}
            for entry in spec.grid.entries
        ],
        "trials": spec.plan.total,
        "objectives": [objective.name for objective in spec.definition.objectives],
        "tuning_seeds": span(spec.seed_split.tuning),
        "choice_seeds": span(spec.seed_split.choice),
        "held_out_seeds": span(spec.seed_split.held_out),
        "date": datetime.now(UTC).date().isoformat(),
        "revision": git_revision(),
        "order_kept": order_kept(front_points(verdict), spec.definition.objectives),
        "candidates": [_standing(spec, standing) for standing in verdict.standings],
    }


def _standing(spec: StudySpec, standing: Standing) -> Candidate:
    return {
        "label": standing.label,
        "trial": standing.trial,
        "settings": dict(standing.settings),
        "places": _settings_by_condition(spec, standing.settings),
        "tuning": None if standing.tuning is None else _numbers(standing.tuning),
        "choice": _numbers(standing.choice),
        "held_out": _held_out(standing.held_out),
        "versus_default": _versus(standing.held_out.versus),
        "rounded": None if standing.rounded is None else _rounded(spec, standing.rounded),
    }


def _rounded(spec: StudySpec, rounded: Rounded) -> RoundedCandidate:
    return {
        "digits": rounded.digits,
        "alike": rounded.alike,
        "settings": dict(rounded.settings),
        "places": _settings_by_condition(spec, rounded.settings),
        "held_out": _held_out(rounded.held_out),
        "versus_default": _versus(rounded.held_out.versus),
        "versus_unrounded": _versus(rounded.versus_unrounded),
        "p_value": rounded.versus_unrounded.p_value,
    }


def _settings_by_condition(spec: StudySpec, settings: Mapping[str, Scalar]) -> list[dict[str, Scalar]]:
    """All settings that differ from the planner's defaults, per task and horizon."""
    usual = full_settings(spec.planner.planner.name)
    return [{name: value for name, value in point.planner.settings if value != usual[name]} for point in spec.points(settings)]


def _versus(paired: Paired | None) -> Versus | None:
    if paired is None:
        return None
    return {"pairs": paired.pairs, "difference": paired.difference, "interval": paired.interval}


def _numbers(judged: Judged) -> Numbers:
    return {
        "success": judged.success.value,
        "interval": judged.success.interval,
        "n": judged.success.trials,
        "values": dict(judged.values),
    }


def _held_out(judged: Judged) -> HeldOut:
    numbers = _numbers(judged)
    success, (low, high) = numbers["success"], judged.success.interval
    assert success is not None
    return {"success": success, "interval": (low, high), "n": numbers["n"], "values": numbers["values"]}


def span(seeds: tuple[int, ...]) -> str:
    """Seeds in words: `2000..2063`, or their number and range."""
    first, last = min(seeds), max(seeds)
    return f"{first}..{last}" if last - first + 1 == len(seeds) else f"{len(seeds)} from {first} to {last}"


def write(spec: StudySpec, verdict: Verdict) -> Path:
    """Write report.txt, held_out.json and winner.json to the study's folder, which is returned."""
    folder = spec.outputs.study(spec.name)
    stream = io.StringIO()
    show(spec, verdict, Console(file=stream, force_jupyter=False, width=130, color_system=None))
    write_file(folder / "report.txt", "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n")
    write_file(folder / "config.yaml", spec.config_text)
    write_file(folder / HELD_OUT, to_json(_held_out_table(verdict)) + "\n")
    write_file(folder / WINNER, to_json(as_json(spec, verdict), indent=1) + "\n")
    return folder
