"""Parts of benchmarks/audit.py."""
