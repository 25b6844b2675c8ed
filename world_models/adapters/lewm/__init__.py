"""LeWM checkpoints."""
