"""Two planners on one task: a sweep, its table, and who is better. Run again, it plans only what is missing."""

import sys

import grasp_orchestrator as grasp

output = sys.argv[1] if len(sys.argv) > 1 else "outputs"

found = grasp.sweep(
    "tracking.enabled=false",
    name="example",
    task="wall",
    planner="grasp,gd",
    horizons=[10],
    seeds=4,
    backend="inline",
    output=output,
)

print(found.table()[["task", "planner", "horizon", "success_rate", "n", "median_distance", "mean_plan_seconds"]])
print(found.compare("gd")[["planner", "reference", "difference", "difference_low", "difference_high", "verdict"]])
print(found.cells().groupby("planner")["plan_seconds"].mean())
print(f"the report is {found.folder / 'report.html'}")
