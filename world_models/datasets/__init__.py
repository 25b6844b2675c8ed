"""Datasets: recorded episodes of any format, read by column and row.

`data = open_dataset("pusht.h5")`, then `data.windows(episodes, starts, rows=16, columns=["action", "pixels"])`.
"""

from __future__ import annotations

from world_models.datasets.base import Column, DatasetError, Episodes, Role, columns_with
from world_models.datasets.opening import READERS, open_dataset
from world_models.datasets.recording import from_arrays
from world_models.datasets.windows import Windows, batches, split_episodes

__all__ = [
    "READERS",
    "Column",
    "DatasetError",
    "Episodes",
    "Role",
    "Windows",
    "batches",
    "columns_with",
    "from_arrays",
    "open_dataset",
    "split_episodes",
]
