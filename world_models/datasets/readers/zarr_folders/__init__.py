"""Zarr folders, whose chunks are checked before they are unpacked."""
