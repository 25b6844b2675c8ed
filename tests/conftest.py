"""Shapes and types of the four packages are checked at run time in every test, and torch uses one thread.

Hypothesis has no deadline, because a busy machine would miss one by chance.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")

from tests.slow_tests import is_slow
from tests.support.type_checks import CALLS, check_types

check_types(["world_models", "planners", "orchestrator", "sweeps"])

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def calls_are_checked_anew() -> None:
    """Begin each test with checks of what it calls first."""
    CALLS.counts.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the slow tests, which `make test-fast` leaves out."""
    for item in items:
        if is_slow(item.path.relative_to(config.rootpath).as_posix()):
            item.add_marker("slow")
