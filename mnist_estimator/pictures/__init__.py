"""A user's picture: its header without TensorFlow, and in a graph what a network takes.

`methods` and `picture_files` do not import TensorFlow. May import `compat` and `runtime`.
"""
