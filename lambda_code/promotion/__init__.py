"""Which model serves, and whether the endpoint is on: what function `reconcile` is made of."""
