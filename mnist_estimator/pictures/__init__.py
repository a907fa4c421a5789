"""From a user's picture to an image that a network takes.

`methods` and `picture_files` do not import TensorFlow; the others build the graph that prepares
pictures, in the program and in exported models alike.

May import `compat` and `runtime`.
"""
