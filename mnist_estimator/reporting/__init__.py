"""The report of runs: one HTML page with their curves, tables and pictures.

May import every package but `engines` and `training`.
"""
