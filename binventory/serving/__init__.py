"""What is approved and what serves."""
