"""A user's own code on two Ray nodes, the second of which sees neither the user's folder nor this checkout.

Not collected by itself, because it takes minutes: `make test-long` runs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tests.end_to_end.outside import QUICK, WORDS, environment, grasp
from tests.support.hidden_node import NAME, can_hide, two_nodes
from tests.support.plugins import GLIDER

__all__ = ["environment"]
PLAIN = (
    *("task=./glide.py:Glide", "world_model=./ice.py:ice", "planner=gd,./climb.py:Climbing"),
    *("planners.Climbing.settings.iterations=3", "planners.Climbing.settings.samples=20", "planners.gd.settings.iterations=3"),
)

pytestmark = pytest.mark.skipif(not can_hide(), reason="needs to make a mount namespace: root, and unshare of util-linux")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder, with the example's code as plain files."""
    folder = tmp_path_factory.mktemp("home")
    for name, source in (("glide", "tasks"), ("ice", "models"), ("climb", "planners")):
        shutil.copy(GLIDER / f"{source}.py", folder / f"{name}.py")
    return folder


@pytest.fixture(scope="module")
def cluster(environment: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables that lead to the cluster."""
    with two_nodes(environment, home, tmp_path_factory.mktemp("cluster") / "ray") as variables:
        yield variables


def hosts(folder: Path) -> set[str]:
    """Where the cells of an output folder were planned; all of them are completed."""
    table = ds.dataset(folder / "ledger", format="parquet", exclude_invalid_files=True).to_table()
    assert set(table["status"].to_pylist()) == {"completed"}, table["error"].to_pylist()
    return set(table["host"].to_pylist())


@pytest.mark.parametrize(("words", "name"), [(WORDS, "package"), (PLAIN, "files")])
def test_the_hidden_node_plans(
    environment: Path, home: Path, cluster: dict[str, str], words: tuple[str, ...], name: str
) -> None:
    ray = ("backend.address=auto", "backend.num_workers=2", "max_rows=1")
    said = grasp(environment, home, "sweep", *words, *QUICK, *ray, "seeds=8", f"output={name}", **cluster)
    assert "Climbing" in said or "climbing" in said
    assert hosts(home / name) == {NAME}
