"""What a classifier gets right and wrong: evaluated, counted, as text and for TensorBoard.

May import what `runs` may, and `runs`.
"""
