"""The durable record of finished cells: append-only Parquet parts."""
