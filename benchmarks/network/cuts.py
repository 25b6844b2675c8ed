"""A cluster on hosts of its own, and a sweep that survives its network: part of `make rehearsal` where this is root.

A Ray head, three nodes, an MLflow server and an object store, each in a network namespace. While the sweep runs, one node has
100 ms more each way and loses 5 % of its frames; a node and the MLflow server are cut off for 20 s; a node is cut off for
longer than Ray's timeout, and another in one direction only; the object store is cut off. Afterwards every cell is recorded
once, MLflow has everything once, and what the terminal and the status said meanwhile was true.

    python -m benchmarks.network.cuts          # about 5 minutes on 2 cores; the last line is JSON
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import rehearsal_checks as checks
from benchmarks.network.hosts import Network, lacking
from benchmarks.network.stage import HOSTS, NAME, NODES, STORE, TRACKING, Stage
from benchmarks.processes import end_descendants
from benchmarks.rehearsal_stage import RehearsalError
from benchmarks.services import Service
from benchmarks.verdict import perform

BRIEF = 20.0
"""Seconds of a cut that a cluster must sit out."""


def main() -> int:
    """Rehearse the cuts; return 0 when everything holds, or when this machine cannot have such hosts."""
    reason = lacking()
    if reason is not None:
        print(f"network cuts are left out: {reason}.")
        return 0
    return perform(NAME, on_hosts)


def on_hosts(folder: Path) -> dict[str, object]:
    """Make the hosts, rehearse on them, and end what runs there before they go; figures, or RehearsalError."""
    with Network(HOSTS) as network:
        try:
            return rehearse(Stage(folder, network))
        finally:
            end_descendants()


def rehearse(stage: Stage) -> dict[str, object]:
    """Run the whole rehearsal and return its figures; RehearsalError names all that did not hold."""
    nodes = start_cluster(stage)
    stage.network.link("node1", delay=0.1, loss=0.05)
    stage.sweep()
    stage.wait_for("work on three nodes", lambda: stage.recorded() > 0 and stage.workers() == len(NODES))
    stage.say(f"three nodes plan, the first behind 200 ms and 5 % loss; {stage.recorded()} cells")
    wrong = [*brief_cut(stage), *long_cuts(stage, nodes), *without_store(stage)]
    if code := stage.end_of_sweep():
        wrong.append(f"the sweep ended with {code}")
    stage.say(f"the sweep is over: {stage.recorded()} cells")
    code = stage.sync()
    if code or "nothing waits" not in stage.said("sync"):
        wrong.append(f"`grasp sync` ended with {code} and found something to write")
    figures, found = judge(stage)
    wrong += found
    if wrong:
        raise RehearsalError("; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""))
    stage.say("everything holds")
    return {"seconds": round(stage.seconds, 1), **figures}


def start_cluster(stage: Stage) -> list[Service]:
    """Start the whole cluster; return its nodes."""
    parts = [stage.tracking(), stage.object_store(), stage.head(), *(stage.node(host) for host in NODES)]
    # Two at a time: Ray gives a node 30 seconds to come up, which the processes of four exceed on two busy cores.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(Service.start, parts))
    stage.make_bucket()
    stage.say(f"{', '.join(HOSTS)} are up")
    return parts[-len(NODES) :]


def brief_cut(stage: Stage) -> Iterator[str]:
    """Cut off a node for `BRIEF` seconds, and the MLflow server until a record waits: nothing is planned again."""
    before = stage.recorded()
    for host in ("node2", TRACKING):
        stage.network.link(host, sends=False, gets=False)
    stage.say(f"{before} cells; node2 and the MLflow server are cut off")
    time.sleep(BRIEF)
    seen = stage.recorded()
    if seen <= before:
        yield "nothing was planned while one of three nodes was cut off"
    stage.network.link("node2")
    stage.wait_for(
        "status that says what waits for MLflow", lambda: (found := stage.status()) is not None and bool(found.tracking)
    )
    stage.network.link(TRACKING)
    stage.wait_for("planning after the cut", lambda: stage.recorded() >= seen + 20)
    status = stage.status()
    if status is not None and (status.retries or any(worker.deaths for worker in status.workers)):
        yield f"after {BRIEF:g} s without a node, {status.retries} batches were planned again"
    stage.say(f"{stage.recorded()} cells; both are back")


def long_cuts(stage: Stage, nodes: list[Service]) -> Iterator[str]:
    """Cut off two nodes, one of them in one direction only, until Ray gives them up; both start again."""
    drivers = stage.drivers
    stage.network.link("node2", sends=False, gets=False)
    stage.network.link("node3", sends=False)
    stage.say(f"{stage.recorded()} cells; node2 is cut off, and node3 can no longer send")
    stage.wait_for(
        "a terminal that counts one worker", lambda: (found := stage.status()) is not None and len(found.workers) == 1
    )
    seen = stage.recorded()
    stage.wait_for("planning on the only node", lambda: stage.recorded() >= seen + 4)
    status = stage.status()
    if status is not None and not status.retries and stage.drivers == drivers:
        yield "two nodes are lost, and the driver says that no batch was handed out again"
    stage.say(f"{stage.recorded()} cells; both are given up, and their network is back")
    for host in ("node2", "node3"):
        stage.network.link(host)
    with ThreadPoolExecutor() as pool:
        list(pool.map(stage.restart, NODES[1:], nodes[1:]))
    stage.wait_for(
        "work on three nodes again", lambda: (found := stage.status()) is not None and len(found.workers) == len(NODES)
    )
    stage.say(f"{stage.recorded()} cells; both have joined again")


def without_store(stage: Stage) -> Iterator[str]:
    """Cut off the object store: the driver waits, says so, and goes on."""
    before = len(stage.terminal())
    stage.network.link(STORE, sends=False, gets=False)
    stage.say(f"{stage.recorded()} cells; the object store is cut off")
    stage.wait_for("a driver that waits", lambda: (found := stage.status()) is not None and found.state.startswith("waiting"))
    seen, status = stage.recorded(), stage.status()
    time.sleep(BRIEF)
    if stage.recorded() != seen:
        yield "cells are said to be recorded while the object store was cut off"
    if status is not None and status.state != "waiting until its store answers":
        yield f"the driver says that it is {status.state!r} while the object store is cut off"
    said = stage.terminal()[before:]
    if "check that its store can be reached" not in said or "this waits until its store answers" not in said:
        yield "the terminal did not say that the object store cannot be reached and that planning waits for it"
    stage.network.link(STORE)
    stage.wait_for("planning with the store", lambda: stage.recorded() > seen)
    stage.say(f"{stage.recorded()} cells; the object store is back")


def judge(stage: Stage) -> tuple[dict[str, object], list[str]]:
    """Figures, and what is wrong with the records and with MLflow's runs."""
    found, grid = stage.records(), stage.grid()
    wrong = [*checks.each_cell_once(found, grid), *checks.tracked(stage.tracking_uri, NAME, found)]
    wrong += ["Ray prints on the sweep's terminal"] if "(raylet)" in stage.terminal() else []
    wrong += [f"{failed} cells failed"] if (failed := sum(row["status"] != "completed" for row in found)) else []
    return {"cells": len(found), "points": len({row["point_id"] for row in grid})}, wrong


if __name__ == "__main__":
    sys.exit(main())
