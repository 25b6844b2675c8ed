"""Training by the machine's share: members side by side are those trained one by one, to the bit; children end with parents."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from world_models.checkpoints import store as checkpoints
from world_models.errors import UnknownNameError, UserError
from world_models.precision import current_precision
from world_models.tasks import make_task
from world_models.training.data import collect
from world_models.training.loop import Progress
from world_models.training.machine.allocation import Allocation
from world_models.training.machine.pools import Processes, Report, Series, Work
from world_models.training.train import TrainJob, TrainSettings, train, train_apart

TINY: dict[str, object] = {"trajectories": 50, "length": 20, "width": 16, "depth": 1, "ensemble": 2}
TINY["fit"] = {"unrolls": [1, 2], "steps": [40, 20], "batch_size": 32}
WALL = make_task("wall")
SETTINGS = TrainSettings.of(TINY)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_members_side_by_side_are_those_trained_one_by_one(tmp_path: Path, data: Path) -> None:
    said: dict[str, list[str]] = {"one": [], "two": []}
    pools = {"one": Series(), "two": Processes(2)}
    for name, pool in pools.items():
        allocation = Allocation("cpu", threads=1)
        with allocation.used() as device:
            tell = said[name].append
            train("m", WALL, SETTINGS, tmp_path / name, lambda *words, tell=tell: tell(words[0]), device, data, pool)
    one, two = (checkpoints.read_tensors(str(tmp_path / name)) for name in pools)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert checkpoints.read_card(str(tmp_path / "one"))[1] == checkpoints.read_card(str(tmp_path / "two"))[1]
    assert set(said["one"]) - {"collect"} == set(said["two"]) - {"collect"} == {"train 1 of 2", "train 2 of 2"}
    assert not (tmp_path / "two" / "members").exists()


def double(job: int, progress: Progress) -> int:
    progress("double", job, 4, 0.5)
    if job == 3:
        raise UnknownNameError("job", "3", ("1", "2"))
    if job == 4:
        os._exit(9)
    return 2 * job


def test_results_are_in_order_and_progress_names_its_job() -> None:
    said: list[tuple] = []
    assert Processes(2).run(double, [0, 1], lambda *words: said.append(words)) == [0, 2]
    assert sorted(said) == [(number, "double", number, 4, 0.5) for number in range(2)]
    assert Series().run(double, [0, 1, 2], None) == [0, 2, 4]


def test_errors_of_jobs_are_raised_and_deaths_are_said() -> None:
    with pytest.raises(UserError, match="unknown job"):
        Processes(1).run(double, [1, 3])
    with pytest.raises(UserError, match=r"a process of training ended with exit code 9: run the same command again"):
        Processes(1).run(double, [4])


class Elsewhere:
    """A pool on another machine, which does not have this one's disk."""

    def run(self, work: Work, jobs: Sequence[Any], report: Report | None = None) -> list[Any]:
        for job in jobs:
            (job.folder.parent / job.mark).unlink()
        return Series().run(work, jobs, report)


def test_another_machine_sends_the_checkpoint(tmp_path: Path, data: Path) -> None:
    settings = TrainSettings.of({**TINY, "ensemble": 1})
    with Allocation("cpu", 1).used():
        train("m", make_task("wall"), settings, tmp_path / "here" / "m", data_folder=data)
        job = TrainJob(train, "m", make_task("wall"), settings, tmp_path / "there" / "m", Allocation.current("cpu"), data)
        train_apart([job], Elsewhere())
    assert sorted(file.name for file in (tmp_path / "there").rglob("*")) == ["card.json", "m", "model.safetensors"]
    assert checkpoints.read_card(str(tmp_path / "there" / "m"))[1] == checkpoints.read_card(str(tmp_path / "here" / "m"))[1]


NOTEBOOK = """
import sys
sys.path.insert(0, sys.argv[1])
from glider.tasks import Glide
from world_models.training.data import collect
from world_models.training.machine.pools import Processes

class Slower(Glide):  # defined in a cell: no module has it
    name = "slower"
    def simulate(self, states, actions):
        return super().simulate(states, 0.5 * actions)

def work(job, progress):
    return collect(job, 50, 20, 0).digest

print(collect(Slower(), 50, 20, 0).digest, *Processes(1).run(work, [Slower()]))
"""


def test_a_class_of_a_cell_reaches_the_processes_of_training() -> None:
    """As in a notebook, `__main__` has no file here, so that no process could import it."""
    example = Path(__file__).parents[3] / "examples" / "outside"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    words = [sys.executable, "-c", NOTEBOOK, str(example)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    here, there = done.stdout.split()
    assert here == there


def test_a_task_that_cannot_be_sent_is_refused_in_a_sentence() -> None:
    task = make_task("wall")
    object.__setattr__(task, "lock", __import__("threading").Lock())
    with pytest.raises(UserError, match=r"task 'wall' cannot be sent to another process .*put its class into a file"):
        collect(task, 50, 20, seed=0)


ORPHANS = """
import os, sys, time
from world_models.training.machine.pools import Processes
from tests.world_models.training.test_machine import endless
if __name__ == "__main__":
    Processes(2).run(endless, [sys.argv[1] + "/a", sys.argv[1] + "/b"])
"""


def endless(job: str, progress: Progress) -> None:
    Path(job).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(120)


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ORPHANS, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    files = [tmp_path / "a", tmp_path / "b"]
    wait_for(lambda: all(file.exists() and file.read_text(encoding="utf-8") for file in files))
    parent.kill()
    parent.wait()
    children = [Path("/proc") / file.read_text(encoding="utf-8") for file in files]
    wait_for(lambda: not any(child.exists() and "Z" not in (child / "stat").read_text().split()[2] for child in children))


def wait_for(holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it has not come true in time"
        time.sleep(0.1)


def test_an_allocation_holds_for_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    with Allocation("cpu", before + 1, "medium").used() as device:
        assert (device.type, torch.get_num_threads(), current_precision()) == ("cpu", before + 1, "medium")
        assert Allocation.current("cpu") == Allocation("cpu", before + 1, "medium")
    assert (torch.get_num_threads(), current_precision()) == (before, "highest")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Allocation().place.type == "cuda"
    assert Allocation("cpu").place.type == "cpu"
