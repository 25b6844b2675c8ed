"""A sweep's rows for people and programs: terminal, text, Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.core.success import FINAL
from sweeps.analysis.comparison import LEVEL
from sweeps.analysis.rows import MeasuredPoint, Row, judge_of
from sweeps.reports.notes import notes_of, success_notes

WIDTH = 132
"""Largest width of the table, in characters."""


def caption(rows: Sequence[MeasuredPoint]) -> str:
    """How to read the table."""
    return (
        f"success: {_when(rows)} in the {judge_of(rows)}, with Wilson's 95 % interval; in model: final state predicted "
        "by the world model; distance: median at the end; s/plan: planning seconds per problem, all trials; vs: difference on "
        "common seeds, called better or worse only where McNemar's exact test, adjusted for all comparisons of the table, is "
        f"below {LEVEL}."
    )


def render_table(rows: Sequence[Row], title: str) -> Table:
    """The table for a terminal."""
    several_models = _several_models(rows)
    references = {row.reference for row in rows if row.reference}
    incomplete = any(row.failed or row.missing for row in rows)
    below = "\n".join([caption(rows), *notes_of(rows)])
    table = Table(title=title, title_justify="left", caption=below, caption_justify="left", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("task", no_wrap=True)
    if several_models:
        table.add_column("model")
    table.add_column("H", justify="right")
    table.add_column("planner", no_wrap=True)
    table.add_column("success [95 %]", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("in model", justify="right", no_wrap=True)
    table.add_column("distance", justify="right", no_wrap=True)
    table.add_column("s/plan", justify="right", no_wrap=True)
    if references:
        table.add_column(versus_heading(rows), no_wrap=True)
    if incomplete:
        table.add_column("failed", justify="right", no_wrap=True)
        table.add_column("missing", justify="right", no_wrap=True)
    for i, row in enumerate(rows):
        last = i + 1 == len(rows) or rows[i + 1].condition != row.condition
        fields = fields_of(row)
        cells = [fields["task"]] + ([fields["model"]] if several_models else [])
        cells += [fields[key] for key in ("horizon", "planner", "success", "n", "in_model", "distance", "seconds")]
        cells += [fields["versus"]] if references else []
        cells += [str(row.failed), str(row.missing)] if incomplete else []
        table.add_row(*cells, end_section=last)
    return table


def versus_heading(rows: Sequence[Row]) -> str:
    """Heading of the column that compares rows with the reference."""
    references = {row.reference for row in rows if row.reference}
    return f"vs {references.pop()}" if len(references) == 1 else "vs first"


def fields_of(row: MeasuredPoint) -> dict[str, str]:
    """The cells of a point's row as text."""
    versus = ""
    if row.versus is not None and row.versus.success.difference is not None:
        versus = f"{row.versus.success.difference:+.2f} {row.versus.verdict.value}"
    return {
        "task": row.task,
        "model": row.model,
        "horizon": str(row.horizon),
        "planner": row.planner,
        "success": f"{row.success.text}{' in model' if row.judged_in_model else ''}",
        "n": f"{row.success.trials}{'*' if row.mixed else ''}",
        "in_model": "-" if row.in_model.value is None else f"{row.in_model.value:.2f}",
        "distance": "-" if row.distance is None else f"{row.distance:.3g} {row.unit}",
        "seconds": "-" if row.plan_seconds is None else f"{row.plan_seconds:.2f}",
        "versus": versus,
    }


def headline(rows: Sequence[Row]) -> str:
    """Markdown for the sweep's page: the table alone."""
    lines = ["| task | H | planner | success | 95 % interval | n | s/plan | vs |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        fields, rate = fields_of(row), row.success
        low, high = rate.interval
        where = " in model" if row.judged_in_model else ""
        share = "- | -" if rate.value is None else f"{rate.value:.2f}{where} | {low:.2f} to {high:.2f}"
        lines.append(
            f"| {fields['task']} | {fields['horizon']} | {fields['planner']} | {share} | {fields['n']} | {fields['seconds']} "
            f"| {fields['versus']} |"
        )
    return "\n".join([*lines, *(f"\n{note}" for note in notes_of(rows))])


def to_text(rows: Sequence[Row], title: str) -> str:
    """The table as plain text."""
    stream = io.StringIO()
    Console(file=stream, force_jupyter=False, width=WIDTH, color_system=None, markup=False, emoji=False).print(
        render_table(rows, title)
    )
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


_LATEX = str.maketrans(
    {"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def _paper_caption(rows: Sequence[Row]) -> str:
    """Caption of a paper's table, which explains its columns."""
    references = {row.reference for row in rows if row.reference}
    words = f"success: {_when(rows)} in the {judge_of(rows)}, with Wilson's 95 % interval; s/plan: mean planning "
    words += "seconds per problem over all trials"
    rules = "".join(f" {note[0].upper()}{note[1:]}" for note in success_notes(row.entry for row in rows))
    if not references:
        return f"{words}.{rules}"
    other = references.pop() if len(references) == 1 else "the first planner"
    return (
        f"{words}; difference: success minus that of {other} on the same problems, with Bonett and Price's 95 % interval, "
        f"called better or worse only where McNemar's exact test, adjusted for all comparisons of the table, is below {LEVEL}."
        + rules
    )


def _when(rows: Sequence[MeasuredPoint]) -> str:
    """The part of a plan that decides on success."""
    ruled = any(isinstance(row, Row) and row.entry.point.success != FINAL for row in rows)
    return "by the rule of each row, said below," if ruled else "final state of the plan"


def to_latex(rows: Sequence[Row], title: str) -> str:
    """A `table` for papers; it needs the package booktabs."""
    models = _several_models(rows)
    columns = [
        "task",
        *(["model"] if models else []),
        "$H$",
        "planner",
        r"success [95\,\%]",
        "$n$",
        "s/plan",
        "difference [95\\,\\%]",
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(title)}. {_tex(' '.join([_paper_caption(rows), *notes_of(rows)]))}}}",
        rf"\begin{{tabular}}{{l{'l' if models else ''}rlrrrl}}",
        r"\toprule",
        " & ".join(columns) + r" \\",
    ]
    before = None
    for row in rows:
        if row.condition != before:
            lines.append(r"\midrule")
            before = row.condition
        fields, gap = fields_of(row), ""
        if row.versus is not None and row.versus.success.difference is not None:
            low, high = row.versus.success.interval
            gap = f"${row.versus.success.difference:+.2f}$ [${low:+.2f}$, ${high:+.2f}$] {row.versus.verdict.value}"
        shown = [fields["task"], *([fields["model"]] if models else []), fields["horizon"], fields["planner"]]
        shown += [fields["success"], fields["n"], fields["seconds"]]
        lines.append(" & ".join([*map(_tex, shown), gap]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """The table for programs, in full precision."""
    records = [record_of(row) for row in rows]
    return csv_text(tuple(records[0]), (tuple(record.values()) for record in records))


def csv_text(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Lines below their columns' names, as CSV in which no text is a formula for a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_no_formula(value) for value in line] for line in lines)
    return stream.getvalue()


def _no_formula(value: object) -> object:
    """The value of a CSV field; a text that a spreadsheet would run as a formula gets a quote before it."""
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and len(value) > 1
    return f"'{value}" if formula else value


def _tex(text: str) -> str:
    return text.translate(_LATEX)


def _several_models(rows: Sequence[Row]) -> bool:
    return len({(row.task, row.model) for row in rows}) > len({row.task for row in rows})


def record_of(row: Row) -> dict[str, object]:
    """A row's numbers by the names of report.csv's columns."""
    point, versus = row.entry.point, row.versus
    low, high = row.success.interval
    gap = versus.success.interval if versus and versus.success.pairs else (None, None)
    progress = versus.progress_interval if versus and versus.progress_interval else (None, None)
    nearer = versus is not None and versus.nearer[1] > 0
    return {
        "task": row.task,
        "model": row.model,
        "model_digest": point.model_digest,
        "horizon": point.horizon,
        "planner": row.planner,
        "mode": point.mode,
        "history": point.history,
        "success_rule": point.success,
        "protocol": point.protocol,
        "goal_cost": point.goal_cost,
        "disagreement": point.disagreement,
        "noise_seed": point.noise_seed,
        "algorithm_version": point.algorithm_version,
        "point_id": point.point_id,
        "judged": "model" if row.judged_in_model else "simulator",
        "n": row.success.trials,
        "success_rate": row.success.value,
        "success_low": low,
        "success_high": high,
        "in_model_rate": row.in_model.value,
        "median_distance": row.distance,
        "distance_unit": row.unit,
        "mean_plan_seconds": row.plan_seconds,
        "mean_plan_seconds_of_successes": row.solved_seconds,
        "median_steps_to_success": row.steps,
        "mean_model_evaluations": row.evaluations,
        "reference": row.reference,
        "pairs": versus.success.pairs if versus else None,
        "difference": versus.success.difference if versus else None,
        "difference_low": gap[0],
        "difference_high": gap[1],
        "p_value": versus.success.p_value if versus else None,
        "q_value": versus.q_value if versus else None,
        "verdict": versus.verdict.value if versus else None,
        "ends_nearer": versus.nearer[0] / versus.nearer[1] if versus and nearer else None,
        "ends_nearer_low": versus.nearer_interval[0] if versus and nearer else None,
        "ends_nearer_high": versus.nearer_interval[1] if versus and nearer else None,
        "progress_difference": versus.progress if versus else None,
        "progress_difference_low": progress[0],
        "progress_difference_high": progress[1],
        "failed": row.failed,
        "missing": row.missing,
        "mixed": "; ".join(row.mixed) or None,
    }
