"""Tables, figures and pages of sweeps."""
