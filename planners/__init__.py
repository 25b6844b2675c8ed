"""Batched trajectory optimisation on any world model. torch only."""
