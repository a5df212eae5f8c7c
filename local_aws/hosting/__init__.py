"""Models, the model registry and endpoints: their operations, and the servers that run behind them."""
