"""Models, their registry, endpoints: what they are on the wire and the servers that run behind them."""
