"""What a model_dir holds: the record of a run, checkpoints, evaluations, status, lock.

May import `compat`, `runtime`, `data`, `config` and the networks.
"""
