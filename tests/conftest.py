"""Shapes and types of the four packages are checked at run time in every test; torch uses one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")

from jaxtyping import install_import_hook

install_import_hook(["world_models", "planners", "orchestrator", "sweeps"], "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(1)
