"""Running a sweep, from its grid to its last cell."""
