"""The report of a run: one HTML page with its curves and tables.

May import every package but `engines` and `training`.
"""
