"""The money stack: budget and alerts."""
