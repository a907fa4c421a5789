"""A user's picture: its header without TensorFlow, and in a graph what a network takes.

May import `compat` and `runtime`.
"""
