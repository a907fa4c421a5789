r"""Trains a network on prepared records and evaluates it.

  python -m mnist_estimator.train --model_dir=tboard/mod1

The data is fetched and prepared if need be, the newest checkpoint in the model_dir is continued,
each checkpoint is evaluated on the validation split, and at the end the test split is, once:

  tensorboard --logdir tboard

On a cluster the same command runs once a task. Where the engine describes the cluster to its tasks
(Kubeflow, Ray, Vertex AI, SageMaker, Slurm), that is all:

  srun --ntasks=6 python -m mnist_estimator.train --strategy=ps --num_ps=2 --model_dir=/shared/mod1
  srun --ntasks=4 python -m mnist_estimator.train --strategy=multi_worker --model_dir=/shared/mod1

Elsewhere the flags do; without --job_name a Kubernetes Indexed Job numbers the tasks:

  python -m mnist_estimator.train --strategy=ps --chief_hosts=a:2222 --worker_hosts=b:2222 \
      --ps_hosts=c:2222 --job_name=worker --task_index=0 --model_dir=/shared/mod1

With --explain it prints what it has understood, and whether the other tasks answer, and exits.
"""

from __future__ import annotations

import datetime
import os

from absl import flags

from mnist_estimator import config
from mnist_estimator.cluster import explain, roles
from mnist_estimator.runtime import program, progress


def main(argv: list[str]) -> None:
    """Reads the flags and trains, or explains."""
    since = datetime.datetime.now().astimezone()
    settings = config.train_config()
    task = roles.resolve(
        os.environ,
        strategy=settings.strategy,
        insists=flags.FLAGS["strategy"].present > 0,
        ps_hosts=settings.ps_hosts,
        worker_hosts=settings.worker_hosts,
        chief_hosts=settings.chief_hosts,
        job_name=settings.job_name,
        task_index=settings.task_index,
        num_ps=settings.num_ps,
        evaluator=settings.evaluator,
        base_port=settings.base_port,
    )
    if flags.FLAGS.explain:
        progress.tell(*explain.describe(settings, task).split("\n"))
        return
    os.environ["TF_CONFIG"] = task.tf_config()
    # TensorFlow takes seconds to import; wrong flags have been answered by now.
    from mnist_estimator.training import training

    training.train(settings, task, since)


if __name__ == "__main__":
    config.define_train_flags()
    flags.DEFINE_bool(
        "explain",
        False,
        "Print what this process has understood of its cluster and whether the other tasks' ports "
        "answer, and exit.",
    )
    program.run(main)
