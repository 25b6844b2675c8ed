"""The schema of every config: what each key takes, in which bounds, and what it is for."""
