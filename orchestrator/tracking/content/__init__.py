"""Contents of the MLflow runs of points and sweeps: plain values, made without MLflow."""
