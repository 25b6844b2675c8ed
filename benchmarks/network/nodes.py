"""The cluster of `benchmarks.faults`: a head and two nodes, on hosts of their own where this machine can have them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ray.cluster_utils import Cluster

from benchmarks.network.hosts import Network, lacking
from benchmarks.network.stage import patience

HEAD, HOSTS = "head", ("node1", "node2")
CUTS = ({"sends": False, "gets": False}, {"sends": False}, {"gets": False})
"""Cuts in both directions, and in one."""
CHECKS = 4
"""Unanswered checks, of 7 seconds each, after which Ray gives a node up."""
BRIEF = (2.0, 5.0, 10.0)
"""Seconds of the cuts that a node survives."""
LONG = 45.0
"""Seconds after which Ray has given up a node that is cut off."""


class Nodes:
    """The nodes now, by host."""

    def __init__(self, network: Network | None) -> None:
        """Start the cluster, on the hosts of `network` if there is one; its head is on the host of this thread."""
        self._network = network
        os.environ |= patience(CHECKS)
        head: dict[str, Any] = {"num_cpus": 0, "include_dashboard": False}
        head |= {} if network is None else {"node_ip_address": network.address(HEAD)}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = {host: self._started(host) for host in HOSTS}

    @property
    def address(self) -> str:
        """The address of the cluster."""
        return str(self.cluster.address)

    def replace(self, host: str) -> None:
        """Kill a node and start another in its place."""
        self.cluster.remove_node(self._nodes[host], allow_graceful=False)
        self._nodes[host] = self._started(host)

    def cut(self, rng: random.Random) -> None:
        """Cut off a node for a while."""
        host = rng.choice(HOSTS)
        self._cut(host, rng.choice(CUTS), rng.choice(BRIEF))

    def isolate(self, rng: random.Random) -> None:
        """Cut off a node until it is given up, and start another in its place."""
        host = rng.choice(HOSTS)
        self._cut(host, rng.choice(CUTS), LONG)
        self.replace(host)

    def _cut(self, host: str, how: dict[str, bool], seconds: float) -> None:
        assert self._network is not None
        self._network.link(host, **how)
        time.sleep(seconds)
        self._network.link(host)

    def _started(self, host: str) -> Any:
        with ExitStack() as there:
            where: dict[str, Any] = {}
            if self._network is not None:
                there.enter_context(self._network.inside(host))
                where = {"node_ip_address": self._network.address(host)}
            return self.cluster.add_node(num_cpus=1, **where)


@contextmanager
def nodes() -> Iterator[tuple[Nodes, bool]]:
    """A running cluster, and whether its network can be cut; this thread is on the head's host meanwhile."""
    with ExitStack() as held:
        network = held.enter_context(Network((HEAD, *HOSTS))) if lacking() is None else None
        if network is not None:
            held.enter_context(network.inside(HEAD))
        made = Nodes(network)
        held.callback(made.cluster.shutdown)
        yield made, network is not None
