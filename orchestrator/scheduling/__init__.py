"""Scheduling: which batch a worker gets next, how large it is, and how long it will take."""
