"""`python -m sweeps` is `grasp`."""

import sys

from sweeps.cli.process import run_process

sys.exit(run_process())
