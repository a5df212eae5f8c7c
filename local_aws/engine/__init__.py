"""What really runs behind the operations: jobs, trials, pipelines and endpoint processes."""
