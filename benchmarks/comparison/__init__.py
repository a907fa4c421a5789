"""What `python -m benchmarks.run` is made of."""
