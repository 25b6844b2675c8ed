"""`grasp import`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.console.command import Command, names_among
from world_models.errors import UserError

HELP = """\
Reads a file that grasp export has written: its cells are added to the ledger, its report works as if the sweep had been run
here, and running the sweep again plans what is missing. A file is data: it is checked whole before anything is written, nothing
in it is executed, and its tracking, storage, backend and output are left out.

examples
  grasp import smoke.grasp.zip
  grasp import smoke.grasp.zip --name theirs output=/data/run
  grasp import huge.grasp.zip --max-bytes 20GB
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `grasp import`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a file that grasp export has written")
    parser.add_argument("words", nargs="*", metavar="output=FOLDER", help="the output folder (default: outputs)")
    parser.add_argument("--name", help="another name for the sweep")
    parser.add_argument(
        "--max-bytes",
        metavar="SIZE",
        help="how much the file may unpack to, e.g. 20GB (default: 4GB, and 50 times its own size)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from rich.console import Console

    from sweeps.archives.importing import import_archive
    from sweeps.config.outputs import outputs_of

    stray = names_among(arguments.words)
    if stray:
        raise UserError(f"grasp import takes one file, and {stray[0]!r} is a second: import them one after the other.")
    return import_archive(arguments.file, outputs_of(arguments.words), arguments.name, Console(), _bytes(arguments.max_bytes))


def _bytes(text: str | None) -> int | None:
    """A size such as 20GB in bytes; None if none is given."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if text is None:
        return None
    try:
        size = TypeAdapter(ByteSize).validate_python(text)
    except ValidationError as error:
        raise UserError(f"--max-bytes {text!r} is not a size: give e.g. 20GB.") from error
    if size <= 0:
        raise UserError(f"--max-bytes {text!r} is not a size above 0: give e.g. 20GB.")
    return int(size)


COMMAND = Command("read an exported sweep", HELP, configure, run)
"""The command `grasp import`."""
