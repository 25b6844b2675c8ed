"""`make rehearsal`: the cluster of docker/compose.yaml as plain processes on loopback, and a sweep that survives its failures.

PostgreSQL, MLflow's server on it, a Ray head and two worker nodes, each with its own address and folder. A sweep is submitted
with `ray job submit`. While it runs, a worker node and the MLflow server are killed (-9); the sweep goes on without them. Then
the server comes back and another node joins. At the end the results must equal those of the same sweep run undisturbed in one
process.

    python -m benchmarks.rehearsal             # under 6 minutes on 2 cores; the last line is JSON
    python -m benchmarks.rehearsal --record    # docker/rehearsed.txt is written anew instead of compared
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks import rehearsal_checks as checks
from benchmarks.processes import descendants, kill_tree, title
from benchmarks.rehearsal_stage import STEP, RehearsalError, Stage, plans
from benchmarks.rehearsed import LIST, as_text
from benchmarks.services import PostgreSQL, Service
from benchmarks.verdict import perform

NAME, SEEDS = "rehearsal", 40
SWEEP = (
    *(f"name={NAME}", "task=wall", "planner=grasp,gd", "horizons=[20,40]", f"seeds={SEEDS}", "max_rows=1"),
    *(f"planners.grasp.settings.{key}" for key in ("iterations=80", "attempts=1", "precision=highest")),
    *(f"planners.gd.settings.{key}" for key in ("iterations=100", "attempts=1", "precision=highest")),
)
"""The sweep: long enough to be under way when things break, whether or not the processor has the planners' kernel.
One cell per batch, since batches differ from run to run, and rounding with them."""
CELLS = 4 * SEEDS


def main(words: Sequence[str] | None = None) -> int:
    """Rehearse; return 0 when everything holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write docker/rehearsed.txt anew")
    record = parser.parse_args(words).record
    return perform(NAME, lambda folder: rehearse(Stage(folder), record))


def rehearse(stage: Stage, record: bool) -> dict[str, object]:
    """Run the whole rehearsal and return its figures; RehearsalError names all that did not hold."""
    with ExitStack() as services:
        tracking, worker = start_cluster(stage, services)
        job = stage.start("submission", ["bash", "docker/commands/submit.sh", *SWEEP])
        in_time = disturb(stage, services, job, tracking, worker)
        wrong = [f"the submission ended with {code}"] if (code := job.wait(timeout=STEP)) else []
        stage.say(f"the submission is over; {stage.finished()} cells are in the ledger")
        stage.ran.append(stage.entrypoint())
        stage.say("the same sweep in one process, to compare it with")
        if stage.run("undisturbed", undisturbed(stage)):
            raise RehearsalError("the undisturbed run failed")
        figures, found = judge(stage, in_time)
        wrong += found
    left = [title(process) for process in descendants(os.getpid())]
    wrong += [f"{len(left)} processes were left behind, e.g. {left[0]!r}"] if left else []
    wrong += compare_commands(stage, record)
    if wrong:
        raise RehearsalError("; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""))
    stage.say("everything holds, and everything is stopped")
    return {"seconds": round(stage.seconds, 1), **figures, "server_back_in_time": in_time}


def undisturbed(stage: Stage) -> list[str]:
    """The command of the same sweep in one process, tracked in its own folder only.

    It uses one thread: on cores that are busy with the cluster, threads that wait for each other take many times as long.
    """
    return [
        "env",
        "OMP_NUM_THREADS=1",
        sys.executable,
        "-m",
        "sweeps",
        "sweep",
        *SWEEP,
        "backend=inline",
        f"output={stage.folder / 'undisturbed'}",
    ]


def start_cluster(stage: Stage, services: ExitStack) -> tuple[Service, Service]:
    """Start the whole cluster; return the MLflow server and the first worker node."""
    database = services.enter_context(PostgreSQL())
    stage.say(f"PostgreSQL answers on port {database.port}")
    parts = [stage.tracking(database), stage.head(), stage.worker(1), stage.worker(2)]
    for part in parts:  # stopped in reverse order: a node whose head is gone takes long to stop
        services.callback(part.stop)
    # Two at a time: Ray gives a node 30 seconds to come up, which the processes of four exceed on two busy cores.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(Service.start, parts))
    stage.wait_for_head()
    stage.say(f"MLflow answers on {stage.tracking_uri}, the Ray head on {stage.dashboard}, and two worker nodes are up")
    return parts[0], parts[2]


def disturb(stage: Stage, services: ExitStack, job: subprocess.Popen[bytes], tracking: Service, worker: Service) -> bool:
    """Kill a node and the server, see the sweep go on, bring the server back and have another node plan.

    Returns whether the server was back before the sweep was over, which depends on the speed of the machine.
    """
    stage.wait_for("an eighth of the sweep", lambda: stage.finished() >= CELLS // 8, job)
    seen = stage.finished()
    stage.say(f"{seen} of {CELLS} cells; kill -9 of a worker node and of the MLflow server; another node is started")
    kill_tree(worker.pid)
    tracking.kill()
    late = stage.worker(3)
    services.callback(late.stop)
    with ThreadPoolExecutor() as pool:
        joining = pool.submit(late.start)
        stage.wait_for("progress without them", lambda: stage.finished() >= seen + CELLS // 8, job)
        stage.say(f"{stage.finished()} cells: the sweep goes on; the server comes back")
        back = pool.submit(tracking.start)
        # Wait for it first: a sweep that ends while the server comes up takes its actors with it.
        stage.wait_for("an actor on the node that joined", lambda: plans(late), job)
        stage.say(f"{stage.finished()} cells; the node that joined is planning")
        back.result()
        in_time = job.poll() is None
        joining.result()
    return in_time


def judge(stage: Stage, in_time: bool) -> tuple[dict[str, object], list[str]]:
    """Figures, and what is wrong; `grasp sync` tracks what the sweep could not unless the server was back `in_time`."""
    found, expected = checks.records(stage.output), checks.records(stage.folder / "undisturbed")
    wrong = [*checks.each_cell_once(found, expected), *checks.same_results(found, expected)]
    wrong += checks.of_one_commit(found, stage.revision)
    upload = checks.uploaded(stage.folder / "head")
    wrong += upload.problems
    sync = [sys.executable, "-m", "sweeps", "sync", f"output={stage.output}"]
    if not in_time and (code := stage.run("sync", sync)):
        wrong.append(f"`grasp sync` ended with {code}")
    wrong += checks.tracked(stage.tracking_uri, NAME, found)
    code = stage.run("sync-again", sync)
    if code or "nothing waits" not in stage.said("sync-again"):
        wrong.append(f"`grasp sync` ended with {code} and found something to write")
    figures = {
        "cells": len(found),
        "points": len({row["point_id"] for row in found}),
        "upload_files": upload.files,
        "upload_mb": round(upload.megabytes, 2),
    }
    return figures, wrong


def compare_commands(stage: Stage, record: bool) -> list[str]:
    """Write docker/rehearsed.txt, or say that it differs from what was run."""
    ran = as_text(command for command in stage.ran if sys.executable not in command)
    if record:
        LIST.write_text(ran, encoding="utf-8")
    elif not LIST.exists() or LIST.read_text(encoding="utf-8") != ran:
        return [f"{LIST.name} does not hold what was run: compare it after `python -m benchmarks.rehearsal --record`"]
    return []


if __name__ == "__main__":
    sys.exit(main())
