"""The training stack: pipeline, model registry, roles of the jobs."""
