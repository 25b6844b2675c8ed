"""The Python interface: sweeps, studies and single plans, by the functions of the commands."""
