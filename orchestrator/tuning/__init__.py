"""Studies over planners' settings; Optuna is imported here only."""
