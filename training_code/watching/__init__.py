"""What is seen of a run: rules, profile, charts, report, tracking."""
