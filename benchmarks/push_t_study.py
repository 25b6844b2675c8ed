"""Plan Push-T of the study again: the rows of docs/planning-quality with own budgets and replanned, into an output folder.

    python -m benchmarks.push_t_study OUTPUT       # 15 minutes on 2 cores; it resumes
    python -m benchmarks.push_t_tests OUTPUT       # the same plans under both success tests

Settings and seeds are those that the study's results.parquet has. The last line of output is a JSON object: how many cells were
planned, and how many of them succeed here and on the page or on one of them only.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from sweeps.config.overrides import override_text
from sweeps.running.sweep import sweep

RESULTS = Path(__file__).parents[1] / "docs" / "planning-quality" / "results.parquet"
PARTS = ("own", "mpc")
"""The page's tables that are planned again."""
Row = Mapping[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    """Plan, and print how the outcomes compare with the page's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="an output folder for the sweeps")
    output = parser.parse_args(words).output
    rows = [row for row in pq.read_table(RESULTS).to_pylist() if row["task"] == "push_t" and row["part"] in PARTS]
    for overrides in sweeps_of(rows, output):
        if code := sweep(overrides, Console()):
            return code
    print(json.dumps(compared(rows, Ledger(output / "ledger"))))
    return 0


def sweeps_of(rows: Sequence[Row], output: Path) -> Iterator[list[str]]:
    """The overrides of a sweep for each horizon and mode."""
    groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["horizon"], row["mode"]].append(row)
    for (horizon, mode), group in sorted(groups.items()):
        settings = {row["planner"]: json.loads(row["planner_settings"]) for row in group}
        seeds = sorted({row["seed"] for row in group})
        yield [
            f"name=push_t_H{horizon}_{mode.replace(':', '')}",
            *("task=push_t", f"planner=[{','.join(sorted(settings))}]", f"horizons=[{horizon}]", f"mode={mode}"),
            *(f"seeds={len(seeds)}", f"seeds.start={seeds[0]}", "even_batches=true", "artifacts.cells=[]"),
            *("backend=inline", "tracking.enabled=false", f"output={override_text(str(output))}"),
            *(f"planners.{label}.overrides=[]" for label in settings),
            *(
                f"planners.{label}.settings.{name}={override_text(value)}"
                for label, given in settings.items()
                for name, value in given.items()
            ),
        ]


def compared(rows: Sequence[Row], ledger: Ledger) -> dict[str, int]:
    """Numbers of cells by where they succeed."""
    table = ledger.table(columns=["task", "planner_settings", "horizon", "mode", "seed", "success"])
    here = {_key(row): row["success"] for row in table.to_pylist() if row["task"] == "push_t"}
    pairs = [(bool(row["success"]), here[_key(row)]) for row in rows if _key(row) in here]
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    page, only_here = pairs.count((True, False)), pairs.count((False, True))
    return {"cells": len(pairs), "both": both, "neither": neither, "page_only": page, "here_only": only_here}


def _key(row: Row) -> tuple[object, ...]:
    settings = json.loads(row["planner_settings"])
    return json.dumps(settings, sort_keys=True), row["horizon"], row["mode"], row["seed"]


if __name__ == "__main__":
    raise SystemExit(main())
