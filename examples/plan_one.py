"""One problem: plan it, execute the plan in the simulator, and save what it looks like."""

import sys
from pathlib import Path

import grasp_orchestrator as grasp

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs")
folder.mkdir(parents=True, exist_ok=True)

planned = grasp.plan(task="wall", planner="grasp", horizons=[25], seeds=[3])

print(planned)
print("the first three actions:", planned.actions[:3].round(2).tolist())
print("the animation is", planned.save(folder / "plan.gif"))
