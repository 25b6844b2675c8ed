"""Fuzzed command lines: each is done or refused in one sentence, writes nowhere else, and ignores no key.

By hand: python -m tests.fuzz.command_lines --count 20000 --seed 0, or --processes 300 for processes of their own
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import yaml

from sweeps.cli.main import main
from sweeps.config.compose import compose
from sweeps.config.schema.configs import COMMANDS
from sweeps.tuning.spec import with_space
from tests.fuzz.children import CPU_SECONDS, SECONDS, Ended, Look, Room, run
from tests.fuzz.grammar import Line, Word, line
from tests.fuzz.keys import options
from tests.fuzz.reading import differences, unsure
from tests.fuzz.small_files import filled
from tests.fuzz.values import PASSWORD
from world_models.checkpoints.store import ZOO
from world_models.errors import UserError

CODES = (0, 1, 2, 130, 143)
OUTPUTS = ("models", "data", "sweeps", "studies", "ledger", "artifacts", "outbox", "plans", "mlflow.db", "mlartifacts")
"""Entries of an output folder, for one that is a folder which other things are in, too."""
PLACES = ("output", "storage", "out", "page", "optuna.storage")
"""Keys that say where a command may write."""


@dataclass
class Found:
    """The results of fuzzed command lines."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def words(self) -> str:
        """All of it in a line."""
        spent = sorted(self.seconds) or [0.0]
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return (
            f"{ends}; {sum(spent) / len(spent):.2f} processor seconds each, at most {spent[-1]:.1f}; {len(self.faults)} faults"
        )


def shared(folder: Path) -> Path:
    """A folder with what command lines name: an output folder with a sweep and a study, an archive, a checkpoint."""
    folder.mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        filled(folder / "filled")
        assert main(["export", "smoke", f"output={folder}/filled", "--to", str(folder / "smoke.zip")]) == 0
    shutil.copytree(ZOO / "wall", folder / "model")
    (folder / "weights.pt").write_bytes(b"PK\x03\x04 no weights")
    return folder


def faults(line: Line, ended: Ended, room: Room) -> list[str]:
    """The fault of a command line."""
    found = list(ended.notes)
    if ended.signal:
        found.append(f"ended by signal {ended.signal} ({CPU_SECONDS} s of processor time, or {SECONDS} s)")
    elif ended.code is not None and ended.code not in CODES:
        found.append(f"exit code {ended.code}")
    if "Traceback" in ended.out + ended.err:
        found.append("a traceback")
    if PASSWORD in ended.out + ended.err:
        found.append("the password is printed")
    if ended.code == 2 and (ended.err.count("\n") != 1 or not ended.err.startswith("grasp: ")):
        found.append(f"not one sentence: {ended.err[:500]!r}")
    if ended.code in (None, 0) and line.unknown is not None:
        found.append(f"took the unknown key {line.unknown!r}")
    places = allowed(line, room)
    found += [f"left {each}" for each in ended.strays if not _within(room.root / each, places)]
    return found


def allowed(line: Line, room: Room) -> list[Path]:
    """Where a command line may write, by its words."""
    cwd, home = room.root / "cwd", room.root / "home"
    texts = ["outputs", *(f"{each}.grasp.zip" for each in ("smoke", "short", "short-held-out"))]
    for word, after in zip(line.words, (*line.words[1:], ""), strict=True):
        key, equals, raw = word.partition("=")
        if equals and key.lstrip("+") in PLACES:
            texts += [raw, raw.strip("'\"")]
        if word in ("--to", "--conf"):
            texts.append(after)
    named = [text.replace("${oc.env:FUZZ_NUMBER}", "3").replace("${oc.env:FUZZ_LIST}", "[1,2]") for text in texts if text]
    paths = [Path(home, text[2:]) if text.startswith("~/") else Path(cwd, text) for text in named]
    found = [Path(os.path.normpath(path)) for path in paths]
    shared = (room.root, cwd, home)
    return [each for path in found for each in ([path / name for name in OUTPUTS] if path in shared else [path])]


def _within(path: Path, places: Iterable[Path]) -> bool:
    """Whether a path is in one of the places, or a folder on the way to one."""
    return any(path.is_relative_to(place) or (path.is_dir() and place.is_relative_to(path)) for place in places)


def look(line: Line) -> Look:
    """The work of a child after its command line: it composes the same words again, and compares with what was typed."""

    def compare(code: int | None, out: str) -> list[str]:
        if code not in (None, 0) or not line.command or not line.given:
            return []
        printed, doubtful = line.words[0] == "config", unsure(line)
        before = _composed(line, [word.text for word in line.given]) if doubtful or not printed else {}
        if before is None:
            return ["its words cannot be composed again"]
        found = differences(line, yaml.load(out, yaml.CSafeLoader) if printed else before)
        for word in doubtful:
            without = [other.text for other in line.given if other is not word]
            instead = [other.text if other is not word else _otherwise(line.command, word) for other in line.given]
            if _composed(line, without) == before and _composed(line, instead) == before:
                found.append(f"{word.text!r} changed nothing")
        return found

    return compare


def _otherwise(command: str, word: Word) -> str:
    """The word with another value: if that changes nothing either, the key has no effect."""
    others = [name for group, name in options(command) if group == word.key.name and name != word.raw]
    return f"{word.key.name}={others[0] if others else '917'}"


def _composed(line: Line, words: Iterable[str]) -> dict[str, object] | None:
    """The values that a line with other words would be run with; None if it would be refused."""
    model = [f"world_model={line.words[1]}"] if line.words[0] == "train" else []
    try:
        given = with_space(list(words), line.conf) if line.command == "tune" else words
        return compose(COMMANDS[line.command], [*model, *given], line.conf).masked
    except UserError:
        return None


def fuzz(count: int, seed: int, folder: Path, first: int = 0, say: Callable[[str], None] = print) -> Found:
    """Run `count` command lines in children of this process."""
    found, room = Found(), Room(folder / "room", shared(folder / "shared"))
    warm()
    for number in range(first, first + count):
        each = line(Random(f"{seed}/{number}"))
        ended = run(each.words, room, look(each))
        note(found, f"{number} of seed {seed}", each, ended, faults(each, ended, room), say)
        if not (number + 1) % 1000:
            say(f"... {number + 1}: {found.words()}")
    return found


def note(found: Found, title: str, line: Line, ended: Ended, wrong: list[str], say: Callable[[str], None]) -> None:
    """Count how a command line ended, and say what was wrong."""
    code = "accepted" if ended.code is None or ended.code == 0 else "refused" if ended.code == 2 else f"exit code {ended.code}"
    found.ends[code] += 1
    found.seconds.append(ended.seconds)
    if wrong:
        words = " ".join(repr(word)[:300] for word in line.words)
        found.faults.append(f"{title}: grasp {words}\n  " + "\n  ".join(wrong))
        say(found.faults[-1])


def warm() -> None:
    """Have this process import and read what its children would each import and read."""
    from sweeps.diagnose.setup import read_diagnosis
    from sweeps.running.plan import read_plan
    from sweeps.tuning.spec import read_study

    yaml.SafeLoader = yaml.CSafeLoader  # pyright: ignore[reportAttributeAccessIssue]  # OmegaConf reads three times as fast
    for read in (read_study, read_plan, read_diagnosis):
        read(["horizons=50"] if read is not read_diagnosis else [], None)
    commands = (
        ["sweep", "--dry-run"],
        ["quality", "--dry-run"],
        ["sync"],
        ["report"],
        ["status"],
        ["ui"],
        ["compare", "a", "b"],
    )
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        tempfile.TemporaryDirectory() as at,
    ):
        for words in commands:
            main([*words, f"output={at}"])
    gc.freeze()  # children would copy every page that a collection touches


def fuzz_processes(count: int, seed: int, folder: Path, say: Callable[[str], None] = print) -> Found:
    """Run `count` command lines that plan nothing as processes of their own."""
    found, room = Found(), Room(folder / "room", shared(folder / "shared"))
    number = -1
    while len(found.seconds) < count:
        number += 1
        each = line(Random(f"{seed}/{number}"))
        if each.words[0] in ("plan", "tune", "diagnose", "train", "rerun", "ui") or any("\0" in word for word in each.words):
            continue
        ended = _process(each, room)
        note(found, f"{number} of seed {seed}", each, ended, faults(each, ended, room), say)
    return found


def _process(line: Line, room: Room) -> Ended:
    room.make()
    environment = {**os.environ, **room.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    before = os.times()
    words = [word.encode("utf-8", "surrogateescape") for word in line.words]
    done = subprocess.run(
        [sys.executable, "-m", "sweeps", *words],
        cwd=room.root / "cwd",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    slow = () if spent <= CPU_SECONDS else (f"{spent:.0f} s of processor time",)
    return Ended(done.returncode, out, err, spent, notes=slow, strays=tuple(room.left()))


def command_line() -> int:
    """Fuzz by hand; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=0, help="run so many as processes of their own instead")
    parser.add_argument("--first", type=int, default=0, help="number of the first line, to run a part again")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.processes:
            found = fuzz_processes(given.processes, given.seed, folder)
        else:
            found = fuzz(given.count, given.seed, folder, given.first)
    print(f"{len(found.seconds)} command lines in {time.monotonic() - began:.0f} s: {found.words()}")
    return int(bool(found.faults))


if __name__ == "__main__":
    sys.exit(command_line())
