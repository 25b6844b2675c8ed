"""Sweeps as single files: written here, read elsewhere."""
