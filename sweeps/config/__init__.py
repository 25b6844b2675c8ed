"""From words on the command line to a grid of points; Hydra is imported here only."""
