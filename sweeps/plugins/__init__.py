"""Plug-ins on the command line: which there are, and whether they keep the promises of their kind."""
