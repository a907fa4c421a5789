"""MNIST as this package prepares it, for the parts that train or read it."""

from __future__ import annotations

import subprocess

from benchmarks.comparison import environments
from benchmarks.comparison.children import ROOT
from benchmarks.comparison.parts import Options

FOLDER = "mnist"  # Below work_dir.


def prepared(options: Options) -> None:
    """Prepares MNIST in `FOLDER`; a dataset that is complete there stays as it is.

    Raises:
      subprocess.CalledProcessError: if the command fails; it has said why.
    """
    python = environments.python("tensorflow", options.work_dir)
    source = [f"--source_dir={options.data_dir.resolve()}"]
    folder = options.work_dir.resolve() / FOLDER
    if not (folder / "manifest.json").exists():
        command = [python, "-m", "mnist_estimator.prepare", f"--data_dir={folder}", *source]
        subprocess.run(command, check=True, cwd=ROOT, timeout=1800)
