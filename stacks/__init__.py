"""The infrastructure: one file a stack, with its constructs beside it. No business logic, no run-time code."""
