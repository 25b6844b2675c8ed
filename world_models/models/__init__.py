"""Learned dynamics models that ship with the package, and analytic worlds with known optima."""
