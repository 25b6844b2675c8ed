"""The command line that goes on where a command was stopped."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from orchestrator.core.messages import mask_token

_NOT_AGAIN = ("--dry-run",)


def resume_command(words: Sequence[str]) -> str:
    """The command to paste that goes on, for the words after `grasp`; a comment says if credentials must be filled in."""
    kept = [word for word in words if word not in _NOT_AGAIN]
    masked = [mask_token(word) for word in kept]
    return shlex.join(["grasp", *masked]) + ("" if masked == kept else "  # with its credentials, which are left out here")
