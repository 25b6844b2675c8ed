"""Pictures, films and trajectories of the few cells that are looked at."""
