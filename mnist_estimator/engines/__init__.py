"""Job files for cluster engines: one module for each engine.

May import `runtime`, `config` and `cluster`. Needs no TensorFlow.
"""
