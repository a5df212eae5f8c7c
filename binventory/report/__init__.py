"""A pipeline execution as one HTML page: steps, trials, learning curves, evaluation and cost."""
