"""A pipeline execution as one HTML page: what ran, what was tried, how it learned, how good it is, what it cost."""
