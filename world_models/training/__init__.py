"""Training of world models on trajectories of a task, and their cards."""
