"""Evaluation: plans are executed in the simulator, and their outcomes become records."""
