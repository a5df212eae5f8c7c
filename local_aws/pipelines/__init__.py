"""Pipelines: their definitions, executions and steps."""
