"""Fuzzed archives, by hand: `python -m tests.fuzz.archives COUNT SEED`; the tests run a few seconds of it.

Bytes of a real archive and of its members are flipped, cut, doubled and replaced. Each archive is refused in one
sentence, or is taken whole.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from sweeps.archives.importing import import_archive
from sweeps.config.outputs import Outputs
from world_models.errors import UserError

MOST_SECONDS = 30.0
"""CPU seconds that an archive may take."""
_TOKENS = (b"null", b"-1", b"1e999", b"NaN", b"true", b'""', b"[]", b"{}", b"../../x", b"\0", b"\x1b[2J", b"9" * 400, b"&a *a")


@dataclass
class Found:
    """The results of fuzzed archives."""

    refused: int = 0
    taken: int = 0
    faults: list[str] = field(default_factory=list)
    """Faults, with the number of the archive."""


def fuzzed(members: Mapping[str, bytes], whole: bytes, random_: random.Random) -> bytes:
    """An archive with some bytes changed, of the file or of one or two members before they are packed."""
    if random_.random() < 0.4:
        return _changed(whole, random_)
    changed = dict(members)
    for _ in range(random_.choice((1, 1, 2))):
        name = random_.choice(sorted(changed))
        changed[name] = _changed(changed[name], random_)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in changed.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _changed(data: bytes, random_: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        at = random_.randrange(len(found) + 1)
        to = min(len(found), at + random_.choice((1, 2, 4, 64, 1024)))
        match random_.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << random_.randrange(8)
            case 1:
                del found[at:to]
            case 2:
                found[at:at] = found[at:to] * random_.choice((1, 2, 50))
            case 3:
                found[at:to] = random_.randbytes(to - at)
            case 4:
                found[at:to] = random_.choice(_TOKENS)
            case _:
                found[at:at] = random_.choice(_TOKENS)
    return bytes(found)


def run(archive: Path, count: int, seed: int, seconds: float = float("inf")) -> Found:
    """Import fuzzed archives until there were `count` or the time is over."""
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        members = {one: opened.read(one) for one in opened.namelist()}
    cells = json.loads(members["manifest.json"])["cells"]
    found, end = Found(), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(count):
            if time.monotonic() > end:
                break
            home = Path(scratch) / "above" / str(number)
            file = Path(scratch) / "fuzzed.zip"
            file.write_bytes(fuzzed(members, whole, random.Random(f"{seed}/{number}")))
            started = time.process_time()
            fault = _outcome(file, home / "outputs", cells, found)
            if time.process_time() - started > MOST_SECONDS:
                fault = f"took more than {MOST_SECONDS:g} s"
            strangers = [one for one in Path(scratch).rglob("*") if one.is_file() and one != file and home not in one.parents]
            strangers += [one for one in home.rglob("*") if one.is_file() and home / "outputs" not in one.parents]
            if fault or strangers:
                found.faults.append(f"archive {number} of seed {seed}: {fault or f'wrote {strangers[0]}'}")
            _empty(home)
    return found


def _outcome(file: Path, folder: Path, cells: int, found: Found) -> str | None:
    """The fault of an import; None for a refusal in one sentence with nothing written, or for records that are as they were."""
    outputs = Outputs(folder)
    try:
        import_archive(file, outputs, None, Console(quiet=True))
    except UserError as error:
        found.refused += 1
        kept = [one for one in folder.rglob("*") if one.is_file()]
        return f"was refused and wrote {kept[0]}" if kept else None if str(error).isprintable() else f"said {str(error)!r}"
    except Exception as error:
        return f"raised {error!r:.300}"
    found.taken += 1
    rows = Ledger(outputs.ledger).table().num_rows
    return None if rows == cells and len(outputs.names()) == 1 else f"was taken as {outputs.names()} with {rows} records"


def _empty(folder: Path) -> None:
    for one in sorted(folder.rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() else one.unlink()
    if folder.exists():
        folder.rmdir()


def _main(words: list[str]) -> int:
    """Plan two cells, then import as many fuzzed archives as asked for; 1 if one did what it must not."""
    from sweeps.archives.exporting import export
    from sweeps.running.sweep import sweep

    count, seed = (int(word) for word in [*words, *("2000", "0")[len(words) :]])
    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as scratch:
        small = ["sweep=smoke", "planner=gd", "planners.gd.settings.iterations=3", "artifacts.cells=[]"]
        sweep([*small, "tracking.enabled=false", f"output={scratch}/home"], quiet)
        archive = Path(scratch) / "smoke.zip"
        export("smoke", Outputs(Path(scratch) / "home"), archive, quiet)
        found = run(archive, count, seed)
    sys.stdout.write(f"{found.refused} refused, {found.taken} taken, {len(found.faults)} faults\n")
    sys.stdout.writelines(f"{fault}\n" for fault in found.faults[:50])
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
