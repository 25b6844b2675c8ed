"""Studies: their search spaces, their runs, and the judging of their winners."""
