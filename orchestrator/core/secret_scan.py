"""Diffs that may be published: key files and hunks that look like secrets are left out, with a line that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.core.messages import mask_text

if TYPE_CHECKING:
    from detect_secrets.plugins.base import BasePlugin

KEY_FILES = (
    *(".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pgpass", ".pypirc", ".npmrc", ".htpasswd"),
    *(".git-credentials", "*credentials*", "kubeconfig", "*service-account*.json", ".dockercfg", ".my.cnf", "*secret*"),
)
"""Names of files that hold keys and passwords."""

KEY_FOLDERS = (".ssh", ".aws", ".gnupg", ".kube", ".docker", ".azure")
"""Folders of such files."""

LONGEST_LINE = 10_000
"""Characters of a line that is looked through; longer ones are left out."""

_UNSUITED = ("IPPublicDetector", "HexHighEntropyString")
"""Detectors that take digests and version numbers for secrets."""

_FILE = re.compile(r"^diff --git .*$", re.MULTILINE)
_HUNK = re.compile(r"^@@ .*$", re.MULTILINE)
_NAME = re.compile(r'^(?:\+\+\+|---) "?[ab]/(.*?)"?\t?$', re.MULTILINE)
_HEADER = re.compile(r'^diff --git "?a/(.*?)"? "?b/(.*?)"?$')


def publishable_diff(diff: str) -> str:
    """The diff without what must not leave this machine, with a line in the place of each thing that was left out."""
    return "\n".join(part for section in _split(_FILE, diff) for part in _parts(section)).strip("\n")


def is_key_file(name: str) -> bool:
    """Whether a file is known to hold keys or passwords by its path."""
    path = PurePosixPath(name.lower())
    source = path.suffix in (".py", ".md") and not path.name.startswith(".")
    return (not source and any(fnmatch(path.name, pattern) for pattern in KEY_FILES)) or any(
        folder in path.parts[:-1] for folder in KEY_FOLDERS
    )


def _parts(section: str) -> Iterator[str]:
    """A file's part of a diff, checked."""
    head, *hunks = _split(_HUNK, section)
    names = [name for found in _HEADER.finditer(head.split("\n", 1)[0]) for name in found.groups()] + _NAME.findall(head)
    for name in names:
        if is_key_file(name):
            yield f"# left out: the changes of {name}, which is a file of keys or passwords"
            return
    yield head
    for hunk in hunks:
        masked = mask_text(hunk)
        kinds = ", ".join(_secrets_in(names[-1] if names else "changes", masked.split("\n")))
        where = hunk.split("@@")[1].strip()
        yield f"# left out: the lines {where}, which look as if they held a secret ({kinds})" if kinds else masked


def _split(start: re.Pattern[str], text: str) -> list[str]:
    """The text cut before each match, without the newlines at the cuts; what precedes the first match comes first."""
    cuts = [0, *(found.start() for found in start.finditer(text) if found.start() > 0), len(text)]
    return [text[begin:end].removesuffix("\n") for begin, end in pairwise(cuts)]


def _secrets_in(name: str, lines: Sequence[str]) -> list[str]:
    """Kinds of secrets that the detectors find in a hunk."""
    found = {
        detector.secret_type
        for line in lines
        for detector in _detectors()
        if len(line) <= LONGEST_LINE and detector.analyze_line(filename=name, line=line[1:], line_number=1)
    }
    too_long = any(len(line) > LONGEST_LINE for line in lines)
    return sorted(found) + ([f"a line of more than {LONGEST_LINE} characters"] if too_long else [])


@cache
def _detectors() -> tuple[BasePlugin, ...]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # takes a second

    return tuple(kind() for kind in get_mapping_from_secret_type_to_class().values() if kind.__name__ not in _UNSUITED)
