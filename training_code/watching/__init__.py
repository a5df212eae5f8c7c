"""Watching a training: rules, profile, charts, report, tracking."""
