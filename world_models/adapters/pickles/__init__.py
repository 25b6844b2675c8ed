"""Reading pickled checkpoints without running anything in them."""
