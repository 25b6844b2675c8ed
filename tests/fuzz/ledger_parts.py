"""Damaged parts of a ledger: each is refused in a sentence, or read as it was written.

`python -m tests.fuzz.ledger_parts --count 3000 --seed 0` flips bits of parts of every schema version, merged ones too.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import encode, name_of
from orchestrator.ledger.records import to_table
from orchestrator.testing import plane_point, quick_result
from world_models.errors import UserError

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("ledger-*.parquet"))
SOME_COLUMNS = ("success", "planner", "distance")


@dataclass(frozen=True)
class Answers:
    """A ledger's answers to the questions that commands ask."""

    whole: pa.Table
    some: pa.Table
    finished: dict[str, list[int]]

    @staticmethod
    def of(folder: Path) -> Answers:
        """The answers of the ledger in a folder, each question asked by a process of its own."""
        finished = {point: seeds.tolist() for point, seeds in Ledger(folder).finished_seeds().items()}
        some = Ledger(folder).table([min(finished)], SOME_COLUMNS) if finished else pa.table({})
        return Answers(Ledger(folder).table(), some, finished)


def parts() -> list[bytes]:
    """An appended part, a merged one with several row groups, and one of each earlier schema."""
    few = quick_result(plane_point(), tuple(range(8))).results
    many = to_table(
        replace(few[0], point_id=f"{point:02d}", seed=seed, cell_id=f"{point}-{seed}")
        for point in range(3)
        for seed in range(3000)
    )
    merged = encode(many, ["part-00000000-01234567.parquet"])
    return [encode(to_table(few)), merged, *(golden.read_bytes() for golden in GOLDEN)]


def outcome(data: bytes, damaged: bytes, before: Answers, folder: Path) -> str:
    """`refused`, `same` or `other` for a part that is damaged; any exception but a UserError is raised."""
    file = folder / name_of(data, 0)
    file.write_bytes(damaged)
    try:
        return "same" if Answers.of(folder) == before else "other"
    except UserError:
        return "refused"
    finally:
        file.unlink()


def flip(data: bytes, rng: random.Random) -> bytes:
    """The data with one bit flipped; every second time in the last tenth, where the footer is."""
    position = rng.randrange(len(data) * 9 // 10 if rng.random() < 0.5 else 0, len(data))
    flipped = bytearray(data)
    flipped[position] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def run(count: int, seed: int) -> Counter[str]:
    """How many of `count` flipped bits had each outcome."""
    rng, outcomes = random.Random(seed), Counter[str]()
    every = parts()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        expected = []
        for data in every:
            (folder / name_of(data, 0)).write_bytes(data)
            expected.append(Answers.of(folder))
            (folder / name_of(data, 0)).unlink()
        for number in range(count):
            # The large part takes a hundred times as long as the others.
            index = 1 if number % 50 == 49 else rng.choice([0, 0, 0, 2, 3, 4, 5, 6])
            outcomes[outcome(every[index], flip(every[index], rng), expected[index], folder)] += 1
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Flip bits and print the outcomes; 1 if any part gave other data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    outcomes = run(options.count, options.seed)
    print(f"{options.count} flipped bits: {dict(outcomes)}")
    return int(outcomes["other"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
