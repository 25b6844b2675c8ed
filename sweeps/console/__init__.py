"""Printing while a command runs, and the handling of Ctrl-C."""
