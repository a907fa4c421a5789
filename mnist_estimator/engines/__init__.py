"""Job files for cluster engines: one module for each engine, and `catalog`, the table of them.

May import `runtime`, `config` and `cluster`. Needs no TensorFlow.
"""
