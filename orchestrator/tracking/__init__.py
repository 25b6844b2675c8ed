"""What MLflow is told, and how it gets there when its server is down; MLflow is imported here only."""
