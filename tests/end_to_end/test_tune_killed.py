"""kill -9 of a study's driver at ten moments: all trials in the end, none left running, no cell planned twice."""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest
from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from orchestrator.tuning.trials import State
from sweeps.tuning.spec import read_study
from sweeps.tuning.study_run import StudyRun
from tests.support.small_sweeps import start_grasp, until

TRIALS, KILLS = 40, 10
WORDS = [
    *(
        "task=wall",
        "planner=gd",
        "horizons=[25]",
        "name=killed",
        f"trials={TRIALS}",
        "parallel=6",
        "backend=inline",
        "max_rows=6",
    ),
    *("seeds.count=12", "choice_seeds.count=4", "held_out.count=4", "top=1", "pruning.warm_up=4", "pruning.chunk=4"),
    *("space.iterations.low=40", "space.iterations.high=160", "planners.gd.settings.attempts=1", "tracking.enabled=false"),
    # Slow enough to be killed ten times, whatever the processor.
    "planners.gd.settings.precision=highest",
]


@pytest.mark.timeout(600)
def test_a_study_survives_ten_deaths(tmp_path):
    words, rng = [*WORDS, f"output={tmp_path}"], random.Random(3)
    ledger = Ledger(tmp_path / "ledger")

    def cells() -> dict[str, str]:
        if not (tmp_path / "ledger").is_dir():
            return {}
        table = ledger.table(columns=["cell_id", "finished_at"])
        found = table["cell_id"].to_pylist()
        assert len(found) == len(set(found)), "a cell was planned twice"
        return dict(zip(found, map(str, table["finished_at"].to_pylist()), strict=True))

    seen: dict[str, str] = {}
    for _ in range(KILLS):
        driver = start_grasp("tune", *words)
        wanted = len(seen) + rng.randint(1, 22)
        until(lambda wanted=wanted, driver=driver: len(cells()) >= wanted or driver.poll() is not None, f"{wanted} cells")
        assert driver.poll() is None, driver.communicate()
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        now = cells()
        assert now.items() >= seen.items(), "what was finished has changed"
        seen = now
    views = StudyRun(read_study(words, None), Console()).study.views()
    assert State.RUNNING in {view.state for view in views}, "no death came while a trial was under way"
    said, troubles = start_grasp("tune", *words).communicate(timeout=400)
    assert "trials have ended" in said, troubles
    assert cells().items() >= seen.items()
    states = Counter(view.state for view in StudyRun(read_study(words, None), Console()).study.views())
    assert states[State.COMPLETE] + states[State.PRUNED] == TRIALS
    assert states[State.RUNNING] == states[State.WAITING] == 0
