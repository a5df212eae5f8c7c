"""Faults, and the jobs that they are injected into."""
