"""Training, processing and Batch Transform jobs: their operations, and the processes that do their work."""
