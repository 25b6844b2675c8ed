"""The Python interface: sweeps, studies and single plans, through the functions behind the commands."""
