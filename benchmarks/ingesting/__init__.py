"""Parts of the benchmarks of ingest."""
