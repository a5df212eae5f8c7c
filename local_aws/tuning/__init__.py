"""Hyperparameter tuning jobs: their operations, the search for values, and the rules that stop trials early."""
