"""Studies of planners' settings; Optuna is imported only here."""
