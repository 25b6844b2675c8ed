"""`python -m sweeps` is `grasp`."""

import sys

from sweeps.cli.main import main

sys.exit(main())
