"""Measurements of what makes planning over a long horizon hard on a given model."""
