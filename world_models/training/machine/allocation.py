"""The share of the machine that training may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from world_models.precision import current_precision, matmul_precision


@dataclass(frozen=True)
class Allocation:
    """Device, threads and precision of a training run."""

    device: str | None = None
    """None: a GPU where this process sees one, otherwise the CPU."""
    threads: int | None = None
    """Threads of torch; None: as they are."""
    precision: str = "highest"
    """Precision of matrix products, one of `world_models.precision.PRECISIONS`."""

    @staticmethod
    def current(device: torch.device | str) -> Allocation:
        """The threads and the precision of this process now, on a device."""
        return Allocation(str(device), torch.get_num_threads(), current_precision())

    @property
    def place(self) -> torch.device:
        """The device of this process."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @contextmanager
    def used(self) -> Iterator[torch.device]:
        """A block with these threads and this precision, on the device that is given."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            with matmul_precision(self.precision, self.place):
                yield self.place
        finally:
            torch.set_num_threads(before)
