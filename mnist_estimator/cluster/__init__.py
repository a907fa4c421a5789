"""Who trains with whom: a task and its place in the cluster, and whether the others are there.

May import `runtime` and `config`. Needs no TensorFlow.
"""
