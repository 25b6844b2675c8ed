"""Studies: what to search, how it went, and what the winner is worth."""
