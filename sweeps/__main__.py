"""`python -m sweeps` is `grasp`."""

import sys

from sweeps.cli import main

sys.exit(main())
