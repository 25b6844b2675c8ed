"""What every wing speaks of: cells, portions of them, batches, and where a result comes from."""
