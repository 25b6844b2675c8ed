"""The planners, one per file."""
