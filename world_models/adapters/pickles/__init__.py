"""Reading of pickled checkpoints without executing anything in them."""
