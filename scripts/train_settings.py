"""Checks the flags of train, and writes to a file what run_local.sh has to know of them.

  python scripts/train_settings.py FILE TRAIN_FLAGS...

The file has values, each with a NUL behind, which no value contains: model_dir, max_steps, dataset,
data_dir; the names of the given flags, with a blank before and behind each; then the flags that
prepare takes too. It stays as it is where the flags ask for help, which is then printed.
"""

from __future__ import annotations

import sys

from absl import flags

from mnist_estimator import config
from mnist_estimator.runtime import program


def main(_: list[str]) -> None:
    """Writes the file."""
    settings = config.train_config()
    given = [name for name in flags.FLAGS if flags.FLAGS[name].present]
    values = [settings.model_dir, str(settings.max_steps), settings.dataset, settings.data_dir]
    values.append(f" {' '.join(given)} ")
    values += [flags.FLAGS[name].serialize() for name in config.DATA_FLAGS if name in given]
    values.append(f"--data_dir={settings.data_dir}")
    with open(output, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"{value}\0" for value in values)


if __name__ == "__main__":
    output = sys.argv.pop(1)
    sys.argv[0] = "run_local.sh"  # The name that error messages begin with.
    config.define_train_flags()
    program.run(main)
