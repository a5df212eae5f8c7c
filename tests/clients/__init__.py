"""Clients that others wrote against the local AWS, each in its environment: `make test-clients`."""
