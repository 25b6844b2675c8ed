"""MLflow's SQLite file in an output folder: made whole, opened afresh, and moved with its artifacts."""
