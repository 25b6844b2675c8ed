"""Spoils each small state file of an output folder, and runs the commands that read it: none may end in a traceback.

By hand: python -m tests.fuzz.small_files --count 2000 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from orchestrator.evaluation.usage import Usage
from orchestrator.tracking.content.sweep_info import CellSet
from orchestrator.tracking.outbox import Outbox, SweepRecord
from orchestrator.tracking.usage_file import UsageFile
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from sweeps.running.tracking import saved_description
from tests.fuzz.mutations import mutate

SMOKE = (
    *("sweep=smoke", "task=wall", "planner=gd", "horizons=[10]", "seeds=2", "planners.gd.settings.iterations=2"),
    *("backend=inline", "artifacts.cells=[best]", "artifacts.video=false"),
)
"""A sweep of two cells."""

STUDY = (
    *("task=wall", "planner=gd", "horizons=[10]", "name=short", "trials=2", "top=1", "seeds.count=2", "choice_seeds.count=2"),
    *("held_out.count=2", "space.iterations.low=2", "space.iterations.high=3", "planners.gd.settings.attempts=1"),
    *("backend=inline", "tracking.enabled=false"),
)
"""A study of two trials."""

OFF = "tracking.enabled=false"


@dataclass(frozen=True)
class Target:
    """A kind of small file, and the commands that read it."""

    pattern: str
    """Its path below the output folder."""
    commands: Sequence[Sequence[str]]
    """Command lines; `output=` is added."""


REPORT, STATUS, DRY = ("report",), ("status",), ("sweep", "--dry-run", *SMOKE, OFF)
AGAIN, COMPARE = ("sweep", "--quiet", *SMOKE, OFF), ("compare", "smoke", "smoke")
APPLY, TUNE = ("tune", "apply", "short", "--conf", "CONF"), ("tune", "--quiet", *STUDY)

TARGETS: Mapping[str, Target] = {
    "sweep": Target("sweeps/smoke/sweep.json", [REPORT, STATUS, ("status", "--json"), DRY, COMPARE]),
    "status": Target("sweeps/smoke/status.json", [STATUS, ("status", "--json")]),
    "limits": Target("sizes.json", [DRY]),
    "chosen": Target("artifacts/*/chosen.json", [AGAIN]),
    "winner": Target("studies/short/winner.json", [APPLY]),
    "journal": Target("studies/journal.log", [TUNE]),
    "store": Target("outbox/*/where.json", [("sync",)]),
    "record": Target("outbox/*/0*.json", [("sync",)]),
    "usage": Target("sweeps/smoke/workers.jsonl", [("sync", "smoke")]),
    "holder": Target("ledger/.lock", [STATUS]),
}
"""Kinds of files by name."""


def filled(root: Path) -> Path:
    """An output folder with all of them."""
    for words in (("sweep", "--quiet", *SMOKE), ("tune", "--quiet", *STUDY)):
        assert run([*words, f"output={root}"]).code == 0
    outputs = Outputs(root)
    description, store = saved_description("smoke", outputs)
    assert store is not None
    portions = description.grid.portions()
    Outbox(outputs.outbox / store.key).add(SweepRecord(description.info("words"), CellSet.of(portions), ended=True))
    UsageFile(outputs.usage("smoke")).add(Usage(1_700_000_000_000, 99.0, 200.0, "host", "cpu", worker="worker 1"))
    return root


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int | None
    """None after a traceback."""
    said: str


def run(words: Sequence[str]) -> Ended:
    """Run a command line in this process."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            return Ended(main(list(words)), printed.getvalue())
        except Exception:  # what a fuzzer looks for
            return Ended(None, traceback.format_exc())


def fuzz(root: Path, name: str, count: int, seed: int, say: Callable[[str], None]) -> list[str]:
    """Spoil one kind of file `count` times, and return a text for each traceback; the folder is as before at the end."""
    target, random, found = TARGETS[name], Random(f"{seed}/{name}"), []
    file = sorted(root.glob(target.pattern))[0]
    sound = file.read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        shutil.copytree(root, copy)
        for number in range(count):
            spoilt = mutate(sound, random)
            at = copy / file.relative_to(root)
            at.write_bytes(spoilt)
            words = random.choice(target.commands)
            began = time.process_time()
            ended = run([word.replace("CONF", f"{scratch}/conf-{number}") for word in words] + [f"output={copy}"])
            if ended.code is None or "Traceback" in ended.said:
                found.append(f"{name} {number}: grasp {' '.join(words)}\n{spoilt[:3000]!r}\n{ended.said}")
                say(found[-1])
            if (seconds := time.process_time() - began) > 30:
                found.append(f"{name} {number}: {seconds:.0f} s of processor time\n{spoilt[:3000]!r}")
                say(found[-1])
            if {entry.name for entry in copy.iterdir()} - {entry.name for entry in root.iterdir()} or ended.code == 0:
                _restore(root, copy)
    return found


def _restore(root: Path, copy: Path) -> None:
    """Make the copy what it was: a command may have written."""
    for folder in ("sweeps", "artifacts", "studies", "outbox"):
        shutil.rmtree(copy / folder, ignore_errors=True)
        if (root / folder).exists():
            shutil.copytree(root / folder, copy / folder)


def command_line() -> int:
    """Fuzz by hand; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="mutations per kind of file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(TARGETS))
    parser.add_argument("--root", type=Path, help="an output folder that was filled before")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = given.root or Path(folder) / "out"
        if not root.exists():
            filled(root)
        for name in given.kinds.split(","):
            began, mine = time.monotonic(), fuzz(root, name, given.count, given.seed, print)
            found += mine
            print(f"{name}: {given.count} mutations, {len(mine)} faults, {time.monotonic() - began:.0f} s")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(command_line())
