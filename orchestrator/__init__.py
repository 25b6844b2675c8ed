"""How sweeps are run: cells, batches, actors, the ledger, tracking."""
