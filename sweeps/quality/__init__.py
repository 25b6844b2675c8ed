"""The study of planning quality, from its sweeps to its page."""
