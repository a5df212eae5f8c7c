"""The infrastructure: a folder for each stack with its constructs. No business logic, no run-time code."""
