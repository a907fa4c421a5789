r"""Trains a network on prepared records and evaluates it.

  python -m mnist_estimator.train --model_dir=tboard/mod1

The data is fetched and prepared if need be, the newest checkpoint in the model_dir is continued,
each checkpoint is evaluated on the validation split, and at the end the test split is, once:

  tensorboard --logdir tboard

On a cluster the same command runs once a task. Where the engine describes the cluster to its tasks
(Kubeflow, Ray, Vertex AI, SageMaker, Slurm), that is all:

  srun --ntasks=6 python -m mnist_estimator.train --num_ps=2 --model_dir=/shared/mod1
  srun --ntasks=4 python -m mnist_estimator.train --model_dir=/shared/mod1

Elsewhere the flags do; without --job_name a Kubernetes Indexed Job numbers the tasks:

  python -m mnist_estimator.train --chief_hosts=a:2222 --worker_hosts=b:2222 --ps_hosts=c:2222 \
      --job_name=worker --task_index=0 --model_dir=/shared/mod1

--strategy follows from the cluster. With --explain the command prints what it has understood, and
whether the other tasks answer, and exits.
"""

from __future__ import annotations

import dataclasses
import datetime
import os

from absl import flags

from mnist_estimator.cluster import explain, roles
from mnist_estimator.config import define_train_flags, train_config
from mnist_estimator.runtime import help_text, program, progress


def define_flags() -> None:
    """Defines the command's flags."""
    define_train_flags()
    flags.DEFINE_bool(
        "explain",
        False,
        "Print what this process has understood of its cluster and whether the other tasks' ports "
        "answer, and exit.",
    )
    help_text.group("The cluster", ["explain"])


def main(argv: list[str]) -> None:
    """Reads the flags and trains, or explains."""
    since = datetime.datetime.now().astimezone()
    config = train_config()
    task = roles.resolve(
        os.environ,
        strategy=config.strategy,
        ps_hosts=config.ps_hosts,
        worker_hosts=config.worker_hosts,
        chief_hosts=config.chief_hosts,
        job_name=config.job_name,
        task_index=config.task_index,
        num_ps=config.num_ps,
        evaluator=config.evaluator,
        base_port=config.base_port,
    )
    config = dataclasses.replace(config, strategy=task.strategy(config.strategy))
    if flags.FLAGS.explain:
        progress.tell(*explain.describe(config, task).split("\n"))
        return
    os.environ["TF_CONFIG"] = task.tf_config()
    # TensorFlow takes seconds to import; wrong flags have been answered by now.
    from mnist_estimator.training import training

    training.train(config, task, since)


if __name__ == "__main__":
    define_flags()
    program.run(main)
