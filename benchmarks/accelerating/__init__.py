"""The jobs on a GPU: each part of benchmarks/gpu.py, beside the same job on this machine's CPU."""
