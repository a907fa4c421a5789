"""The cluster: which task a process is, which tasks there are, and whether they are running.

May import `runtime` and `config`. Needs no TensorFlow.
"""
