"""`make setup`: installs Python packages, PyTorch and the CDK CLI into the checkout; needs no package itself."""
