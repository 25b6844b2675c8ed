"""The vocabulary of every wing: cells, portions, batches, and the provenance of results."""
