"""TD-MPC2 checkpoints."""
