"""Gives three planted secrets in many ways, and searches all that was printed and written for them: none may be found.

By hand: python -m tests.fuzz.secrets --ways 200 --seed 0
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.fuzz.secrets.giving import leaks, repeating_server, swept
from tests.fuzz.secrets.search import Planted
from tests.fuzz.secrets.ways import ways


def command_line() -> int:
    """Try the ways by hand; 1 if a secret was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", type=int, default=200, help="how many at most")
    parser.add_argument("--seed", type=int, default=0, help="of the secrets and of the order")
    parser.add_argument("--only", default="", help="only ways with this in their names")
    given = parser.parse_args()
    random = Random(given.seed)
    planted = Planted.of(random)
    chosen = [(name, way) for name, way in ways(planted).items() if given.only in name]
    random.shuffle(chosen)
    leaking = 0
    with tempfile.TemporaryDirectory() as scratch, repeating_server() as server:
        sweep = swept(Path(scratch) / "swept")
        for number, (name, way) in enumerate(chosen[: given.ways]):
            began = time.process_time()
            found = leaks(way, planted, Path(scratch) / f"way-{number}", sweep, server)
            leaking += bool(found)
            sys.stdout.write("\n".join([f"{name}: {len(found)} hits, {time.process_time() - began:.1f} s", *found]) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{min(given.ways, len(chosen))} ways, {leaking} with a secret found\n")
    return int(leaking > 0)


if __name__ == "__main__":
    sys.exit(command_line())
