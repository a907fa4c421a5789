"""What several tests need: datasets, short runs, small disks, and how programs are started.

Imported as `support.NAME`, because pyproject.toml puts `tests` on pytest's path. No test imports
another test. Fixtures that several files use are in conftest.py.
"""
