r"""Searches flags of train: runs trials, ends the bad ones early, and reports the best.

  python -m mnist_estimator.sweep --space=space.yaml --trials=30 -- \
      --model_dir=tboard/sweep --dataset=sample --max_steps=1000

What follows `--` are flags of `train`, which all trials have. The file says what is varied:

  learning_rate: {type: float, low: 1e-4, high: 1e-1, log: true}
  batch_size: {type: int, low: 32, high: 128, step: 32}
  optimizer: {type: categorical, choices: [adam, momentum]}

Each trial is a run of `train` in a folder of its own below the model_dir, compared by its best
evaluation on the validation split. The test split is not evaluated. Killed at any moment, the same
command goes on: no trial that has ended is run again. Started several times, also on several
machines with one --storage, all work on the same study. At the end there are a table, best.flags
and report.html. Optuna proposes the trials: pip install 'mnist_estimator[sweep]'.
"""

from __future__ import annotations

import functools
import importlib.util
import os

from absl import flags

from mnist_estimator import InputError, compat, storage
from mnist_estimator.engines import passed_flags
from mnist_estimator.runtime import flag_fields, help_text, program
from mnist_estimator.sweeps import plans

_NEEDED = {"optuna": "proposes the trials", "matplotlib": "draws the plots of the report"}


def define_flags() -> None:
    """Defines the command's flags."""
    flag_fields.define_path("space", "", "File of YAML that says which flags of train are varied.")
    help_text.group("The sweep", ["space"])
    plans.define_flags("The sweep")
    flags.adopt_module_key_flags(plans)


def main(argv: list[str]) -> None:
    """Reads the flags, and runs trials until there are enough."""
    given = flags.FLAGS
    if not given.space:
        raise InputError("--space: found nothing, expected a file of YAML; see --help")
    values = {name: given[name].value for name in plans.FLAGS}
    plan = plans.make_plan(given.space, tuple(argv[1:]), values)
    for module, does in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"{module} not found, which {does}; pip install 'mnist_estimator[sweep]'"
            )
    # A trial works alone, even if the environment describes a cluster.
    os.environ.pop("TF_CONFIG", None)
    storage.before_tensorflow(plan.folder)
    compat.on_import(functools.partial(storage.install_for, plan.folder))
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.sweeps import workers

    workers.work(plan)


if __name__ == "__main__":
    define_flags()
    program.run(main, takes_arguments=True, hint=passed_flags.HINT)
