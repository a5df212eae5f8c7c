"""Pipelines: their definitions, their executions, and the steps of those."""
