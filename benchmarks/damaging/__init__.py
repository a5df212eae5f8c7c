"""Parts of benchmarks/damage.py."""
