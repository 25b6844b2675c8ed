"""Programs that tests need besides Python's packages."""

from __future__ import annotations

import os
import shutil

import pytest


def programs(package: str, *names: str) -> list[str]:
    """Paths of programs, which Debian's `package` holds. Without one of them the test is skipped, or fails in CI."""
    found = [shutil.which(name) for name in names]
    paths = [path for path in found if path is not None]
    if len(paths) < len(names):
        said = f"needs {', '.join(names)}: apt-get install {package}"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    return paths
