"""What the serving benchmarks are made of: models, contestants, load, and the processor's own limits."""
