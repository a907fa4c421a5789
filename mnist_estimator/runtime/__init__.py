"""What every program needs, whatever it computes: flags, messages, signals, files.

Imports nothing of the package but `compat`, and that only in `files`, for paths that are not local.
"""
