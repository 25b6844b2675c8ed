"""From arguments on the command line to a grid of points; Hydra is imported only here."""
