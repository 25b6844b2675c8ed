"""The command line: `grasp COMMAND [options] [key=value ...]`. Each command imports the heavy libraries that it needs."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sweeps.cli.verbs import VERBS
from sweeps.console.command import Command
from world_models.errors import UnknownNameError, UserError
from world_models.files.writing import REMEDIES, write_error

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises UserError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 1 (cells failed), 2 (bad input), 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our characters shows others
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            sys.stdout.write(_overview())
            return 0
        if words[0] not in VERBS:
            raise UnknownNameError("command", words[0], VERBS)
        verb = VERBS[words[0]]
        return verb.run(_parser(words[0], verb).parse_intermixed_args(words[1:]))
    except UserError as error:
        sys.stderr.write(f"grasp: {error}\n")
        return 2
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        sys.stderr.write(f"grasp: {write_error(Path(error.filename or 'a file'), error)}\n")
        return 2
    except SystemExit as leaving:  # --help has been printed
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        from orchestrator.core.messages import mask_text  # loaded by now, unless nothing has happened yet

        again = mask_text(" ".join(words))
        sys.stderr.write(f"\ngrasp: stopped; everything finished so far is kept, go on with: grasp {again}\n")
        return INTERRUPTED


def _overview() -> str:
    lines = [
        "Plan with learned world models, at scale, and see what came out.",
        "",
        "usage: grasp COMMAND [options] [key=value ...]",
        "",
    ]
    lines += [f"  {name:8} {verb.summary}" for name, verb in VERBS.items()]
    lines += ["", "grasp COMMAND --help explains a command with examples. A first sweep: grasp sweep sweep=smoke", ""]
    return "\n".join(lines)


def _parser(name: str, verb: Command) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"grasp {name}",
        description=verb.summary,
        epilog=verb.help_text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.configure(parser)
    return parser
