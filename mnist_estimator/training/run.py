"""A training run as one task works on it, and how far the run has come."""

from __future__ import annotations

import dataclasses
import functools
import sys

from mnist_estimator import InputError, estimators, networks, own_networks, predictions
from mnist_estimator.cluster import roles
from mnist_estimator.compat import estimator
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.runs import checkpoints
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import own_modules, progress
from mnist_estimator.scoring import one_graph


@dataclasses.dataclass(frozen=True)
class Run:
    """What a task needs at every step of its work on a run.

    Attributes:
      config: the flags.
      manifest: describes the prepared dataset in `config.data_dir`.
      task: this process's place in the cluster.
      evaluations: the results of the evaluations so far.
      estimator: trains the network.
    """

    config: TrainConfig
    manifest: Manifest
    task: roles.Task
    evaluations: Evaluations
    estimator: estimator.Estimator

    @functools.cached_property
    def evaluator(self) -> one_graph.OneGraph:
        """Evaluates the network, in one graph for all checkpoints."""
        return one_graph.OneGraph(self.estimator)

    def is_complete_at(self, step: int) -> bool:
        """Whether the run trains no more once its newest checkpoint is of this step."""
        return is_complete(self.config, self.evaluations, step)


def make_run(config: TrainConfig, manifest: Manifest, task: roles.Task) -> Run:
    """Reads the evaluations of the run in the model_dir and makes its Estimator.

    Raises:
      InputError: if the record of the evaluations is damaged.
    """
    evaluations = Evaluations(config.model_dir, config.best_metric)
    return Run(
        config, manifest, task, evaluations, estimators.make_estimator(config, manifest, task)
    )


def check_network(config: TrainConfig, manifest: Manifest) -> None:
    """Builds the network once, to find its mistakes before training.

    Raises:
      InputError: if it is a network of the user's own that cannot be trained on these data.
    """
    dtype = predictions.compute_dtype(config.precision)
    params = config.model_params(manifest)
    own_networks.check(config.model, manifest.image_shape, dtype, params)
    if config.model not in networks.NETWORKS:
        own_modules.note_trained(config.model)


def is_complete(config: TrainConfig, evaluations: Evaluations, step: int) -> bool:
    """Whether a run whose newest checkpoint is of this step trains no more."""
    return step >= config.max_steps or evaluations.stops_at(step, config.early_stop_patience)


def was_complete(config: TrainConfig) -> bool:
    """Whether the run in the model_dir trains no more; reads its newest checkpoint whole."""
    newest = checkpoints.newest(config.model_dir)
    if not newest:
        return False
    evaluations = Evaluations(config.model_dir, config.best_metric)
    complete = is_complete(config, evaluations, checkpoints.step_of(newest))
    return complete and not checkpoints.damage(newest)


def is_known_complete(config: TrainConfig) -> bool:
    """As `was_complete`; False where the model_dir cannot be read."""
    try:
        return was_complete(config)
    except InputError:
        return False


def say_complete(config: TrainConfig) -> None:
    """Tells the user that this task has nothing to do."""
    progress.say(f"the run in {config.model_dir} is complete: nothing to train", sys.stderr)


def describe_saved(model_dir: str) -> str:
    """Says which step of the run is saved, and how to continue."""
    newest = checkpoints.newest(model_dir)
    if not newest:
        return "nothing is saved yet; the same command begins anew"
    step = checkpoints.step_of(newest)
    return f"step {step} is saved in {model_dir}; the same command continues from there"
