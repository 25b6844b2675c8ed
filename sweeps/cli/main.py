"""The command line: `grasp COMMAND [options] [key=value ...]`. Each command imports the heavy libraries that it needs."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sweeps.cli.verbs import VERBS
from sweeps.console.command import Command
from sweeps.console.signals import INTERRUPTED, TERMINATED, Terminated
from world_models.errors import UnknownNameError, UserError
from world_models.files.writing import REMEDIES, write_error

EXIT_CODES = """\
exit codes: 0 done; 1 cells failed, or damage was found; 2 refused, in one sentence; 130 stopped by Ctrl-C; 143 stopped by
SIGTERM or a closed terminal; 70 a fault of grasp's own, with a traceback. After 130 and 143 the same command goes on."""


_IMPOSSIBLE = {
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOTDIR: "a part of the path is a file, so choose another folder",
    errno.ELOOP: "its links lead in a circle, so choose another folder",
}
"""The remedy for a path that no file can have, by the number of the system's error."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises UserError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code, as `EXIT_CODES` lists them."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            sys.stdout.write(_overview())
            return 0
        if words[0] not in VERBS:
            raise UnknownNameError("command", words[0], VERBS)
        verb = VERBS[words[0]]
        return verb.run(_parser(words[0], verb).parse_intermixed_args(words[1:]))
    except UserError as error:
        sys.stderr.write(f"grasp: {_shown(str(error), words)}\n")
        return 2
    except OSError as error:
        if error.errno in _IMPOSSIBLE and error.filename:
            sentence = f"{str(error.filename)[:300]!r} cannot be used ({error.strerror}): {_IMPOSSIBLE[error.errno]}."
        elif error.errno in REMEDIES:
            sentence = str(write_error(Path(error.filename or "a file"), error))
        else:
            raise
        sys.stderr.write(f"grasp: {_shown(sentence, words)}\n")
        return 2
    except SystemExit as leaving:  # --help has been printed
        return int(leaving.code or 0)
    except KeyboardInterrupt as stopped:
        from sweeps.console.resuming import resume_command

        again = resume_command(words)
        sys.stderr.write(f"\ngrasp: stopped; everything finished so far is kept, go on with: {again}\n")
        return TERMINATED if isinstance(stopped, Terminated) else INTERRUPTED


def _shown(sentence: str, words: Sequence[str]) -> str:
    """An error as the terminal shows it: without passwords, and with control characters spelt out."""
    from orchestrator.core.messages import visible
    from orchestrator.core.secrets import Secrets

    return visible(Secrets.of(words, os.environ).scrub(sentence)).replace("\n", "\\n")


def _overview() -> str:
    lines = [
        "Plan with learned world models, at scale, and see what came out.",
        "",
        "usage: grasp COMMAND [options] [key=value ...]",
        "",
    ]
    lines += [f"  {name:9} {verb.summary}" for name, verb in VERBS.items()]
    lines += ["", "grasp COMMAND --help explains a command with examples. A first sweep: grasp sweep sweep=smoke", ""]
    lines += [EXIT_CODES, ""]
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
