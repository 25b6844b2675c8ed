"""Why planning over a long horizon is hard, measured on a model."""
