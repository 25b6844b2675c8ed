"""What to run and what came out: configs, grids, reports, the command line."""
