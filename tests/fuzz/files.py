"""Fuzzed files of every kind: configs, cards, weights, saved sweeps, status, outbox records, archives, parts of the ledger.

By hand: python -m tests.fuzz.files --count 20000 --seed 0
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import archives, configs, ledger_parts, small_files
from tests.fuzz.command_lines import shared, warm

SHARES = {**dict.fromkeys(configs.SOURCES, 5), **dict.fromkeys(small_files.TARGETS, 2), "archives": 10, "ledger": 10}
"""Kinds of files by name, with their parts of the count; those that take long have small ones."""


def fuzz(name: str, count: int, seed: int, folder: Path, say: Callable[[str], None] = print) -> list[str]:
    """Spoil one kind of file `count` times; `folder` has what `shared` makes. The result is a text for each fault."""
    with tempfile.TemporaryDirectory() as scratch:
        if name in configs.SOURCES:
            return configs.fuzz(name, count, seed, Path(scratch), say).faults
        if name in small_files.TARGETS:
            return small_files.fuzz(folder / "filled", name, count, seed, say)
        if name == "archives":
            return archives.run(folder / "smoke.zip", count, seed).faults
        other = ledger_parts.run(count, seed)["other"]
        return [f"{other} damaged parts gave other data"] if other else []


def command_line() -> int:
    """Fuzz by hand; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="files, shared among the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(SHARES), help="with one kind, all of the count is its")
    given = parser.parse_args()
    names = given.kinds.split(",")
    logging.disable(logging.CRITICAL)
    found = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = shared(Path(scratch) / "shared")
        warm()
        for name in names:
            count = given.count * SHARES[name] // sum(SHARES[each] for each in names)
            began, used = time.monotonic(), time.process_time()
            faults = fuzz(name, count, given.seed, folder)
            found += len(faults)
            spent = f"{time.monotonic() - began:.0f} s, {time.process_time() - used:.0f} of them processor time in this process"
            print(f"{name}: {count} files, {len(faults)} faults, {spent}", flush=True)
    print(f"{found} faults")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(command_line())
