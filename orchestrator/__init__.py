"""The machinery that runs sweeps: cells, batches, workers, the ledger and tracking."""
