"""Programs that measure this package; `python -m benchmarks.run` measures it beside its peers."""
