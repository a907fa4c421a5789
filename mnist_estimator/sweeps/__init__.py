"""A sweep: which trials there are, the study that proposes them, and each one run to its end.

May import `runs` and what is above it. `space` and `plans` need neither Optuna nor TensorFlow.
"""
