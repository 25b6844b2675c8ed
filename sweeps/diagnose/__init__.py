"""`grasp diagnose`: measurements of GRASP's claims about long horizons on a model."""
