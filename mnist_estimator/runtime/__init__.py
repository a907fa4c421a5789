"""What every command needs: flags, messages, signals, files.

May import `compat`. Only `files` needs TensorFlow, for paths that are not local.
"""
