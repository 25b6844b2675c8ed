"""Training world models, listing them, and importing checkpoints of others."""
