"""From source files to a verified folder of records, and from there to batches.

May import `compat`, `runtime` and `pictures`.
"""
