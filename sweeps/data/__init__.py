"""`grasp data`: datasets are inspected and converted."""
