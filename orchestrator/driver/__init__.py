"""The driver: runs the cells that a ledger lacks, and reports its status."""
