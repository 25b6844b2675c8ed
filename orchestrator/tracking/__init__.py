"""Tracking in MLflow, which survives an MLflow server that is down; MLflow is imported only here."""
