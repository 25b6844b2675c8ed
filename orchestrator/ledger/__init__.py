"""The ledger, the durable record of finished cells: append-only Parquet parts."""
