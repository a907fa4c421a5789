"""Each role's part in training, the hooks that watch it, and how tasks end.

May import every package but `engines` and `reporting`.
"""
