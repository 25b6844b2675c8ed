"""Running the cells that a ledger lacks, and saying how far that has come."""
