"""What `make setup` runs: the checkout's Python packages, PyTorch and the CDK CLI, with the standard library alone."""
