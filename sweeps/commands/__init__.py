"""One file for each command: `grasp X` is `X.py`."""
