"""Readers of dataset formats, each of which imports its own library when a dataset of its kind is opened."""
