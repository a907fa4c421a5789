"""Evaluates runs: counts what they get right and wrong, as text, as files and for TensorBoard.

May import `estimators` and what comes before it.
"""
