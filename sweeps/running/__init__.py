"""One sweep from its grid to its last cell."""
