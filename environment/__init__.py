"""`make setup`: installs Python packages, PyTorch and the CDK CLI into the checkout. Needs the standard library only."""
