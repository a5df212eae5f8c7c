"""The monitoring stack: dashboard, drift monitor, retraining."""
