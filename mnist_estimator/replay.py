"""Trains a stretch of a run again and compares it with what the run has saved, bit for bit.

  python -m mnist_estimator.replay --model_dir=tboard/mod1
  python -m mnist_estimator.replay --model_dir=tboard/mod1 --every

Training is a pure function of records, flags and seed. So the steps from one checkpoint to the next
one, done again, end with the same bytes in every variable: weights, optimizer's variables, global
step. If they do not, then memory or arithmetic gave a wrong value, an operation does not give the
same bits each time, or the machine or the libraries differ. The command first names the differences
of machine and libraries that run.json shows.
The run's folder is not written to. A run of several synchronous workers is trained again by as many
on this machine. The exit code is 0 if all bytes are the same, 1 if some are not.
"""

from __future__ import annotations

import os

from absl import flags

from mnist_estimator import config
from mnist_estimator.runtime import help_text, program, progress, signals


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags(answers=False, checkpoint=False)
    flags.FLAGS["model_dir"].help = "Folder of the run."
    flags.FLAGS["data_dir"].help = "Folder with the run's own records, if they were moved."
    flags.DEFINE_bool(
        "every",
        False,
        "Train again from each checkpoint that is kept to the next one. Default: from the last but "
        "one to the last one.",
    )
    help_text.group("The stretch", ["every"])


def main(argv: list[str]) -> int:
    """Reads the flags, trains again, and says what differs."""
    given = flags.FLAGS
    # This process works alone, even if the environment describes a cluster.
    os.environ.pop("TF_CONFIG", None)
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.training import replaying

    run = replaying.open_replayed(given.model_dir, given.model, given.data_dir)
    stretches = run.stretches if given.every else run.stretches[-1:]
    differing = 0
    for stretch in stretches:
        found = replaying.replay(stretch)
        differing += bool(found)
        what = "differ" if found else "identical"
        progress.tell("steps {} to {}: {}".format(*stretch.steps, what), *found)
    return signals.EXIT_FAILED if differing else 0


if __name__ == "__main__":
    define_flags()
    program.run(main)
