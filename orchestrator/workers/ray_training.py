"""Jobs of training on a Ray cluster: each is a task with the processors and GPUs of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import ray
import ray.exceptions
from ray.util.queue import Empty, Queue

from orchestrator.core.secrets import one_line
from orchestrator.workers.ray_cluster import Need, RayConfig, check_room, connect, living_nodes, need_of
from world_models.errors import UserError
from world_models.plugins import PLUGINS, Parcel, pack, unpack
from world_models.training.machine.pools import Report, Work, received, sent

LOOK = 0.2
"""Seconds between two looks at what has been reported."""
RETRIES = 2
"""How often a job is begun again after its node was lost."""


class RayPool:
    """A `Pool` of a cluster, which it starts or joins. Raises UserError if it is unreachable or has no room for a worker."""

    def __init__(self, config: RayConfig) -> None:
        self._cluster = ExitStack() if ray.is_initialized() else connect(config.address)
        nodes = living_nodes()
        self.need: Need = need_of(config, nodes)
        check_room(config, nodes, self.need)

    def run(self, work: Work, jobs: Sequence[Any], report: Report | None = None) -> list[Any]:
        """The results in the order of the jobs. Raises what the first failing job raises, and UserError for one that dies."""
        remote: Any = ray.remote(_work)
        options: dict[str, Any] = {"num_cpus": self.need.cpus, "num_gpus": self.need.gpus, "max_retries": RETRIES}
        if self.need.memory:
            options["memory"] = self.need.memory
        if self.need.labels:
            options["label_selector"] = dict(self.need.labels)
        said = Queue(actor_options={"num_cpus": 0})
        parcels = pack(PLUGINS)
        answers = [
            remote.options(**options).remote(sent((work, job), "a job of training"), number, said, parcels)
            for number, job in enumerate(jobs)
        ]
        try:
            waiting = list(answers)
            while waiting:
                done, waiting = ray.wait(waiting, timeout=LOOK)
                _tell(said, report)
                _results(done)
            return _results(answers)
        finally:
            for answer in answers:
                ray.cancel(answer, force=True)
            said.shutdown(force=True)

    def close(self) -> None:
        """Leave the cluster, or stop it if this pool has started it."""
        self._cluster.close()

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _work(content: bytes, number: int, said: Queue, parcels: tuple[Parcel, ...]) -> Any:
    """One job in a worker, which has the user's plug-ins."""
    unpack(parcels, PLUGINS)
    work, job = received(content)
    return work(job, lambda *progress: said.put((number, *progress)))


def _tell(said: Queue, report: Report | None) -> None:
    """Pass on what jobs have reported."""
    while True:
        try:
            number, stage, done, total, loss = said.get(block=False)
        except Empty:
            return
        if report is not None:
            report(number, stage, done, total, loss)


def _results(answers: Sequence[Any]) -> list[Any]:
    try:
        return ray.get(list(answers))
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"a job of training was lost on the cluster ({one_line(error)[:200]}): run the same command again, which resumes."
        ) from error
