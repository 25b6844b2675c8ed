"""`grasp diagnose`: what GRASP claims of long horizons, measured on a model."""
