"""Describes the cluster as this process understands it: `train --explain`.

It also connects to the port of each other task, to find a wrong name, a firewall or a task that
has not started before training waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mnist_estimator.cluster import peers, roles
from mnist_estimator.config import TrainConfig

Probe = Callable[[Mapping[str, str]], Mapping[str, str]]

_MEANINGS = {
    peers.ANSWERS: "answers",
    peers.REFUSED: "refused: its machine is there, but no task listens",
    peers.SILENT: "silent: no such name, no way there, or no machine",
}


def describe(
    config: TrainConfig,
    task: roles.Task,
    probe_all: Probe = peers.probe_all,
) -> str:
    """Returns lines about this task, its cluster, its share of the work and its folders.

    Args:
      probe_all: connects to tasks, name -> "host:port", and returns name -> answer.
    """
    return _aligned(
        [
            ("described by", task.source or "nothing: no host flags, and no engine's variables"),
            ("role", task.name if task.source else "trains alone"),
            *_answers(task, probe_all),
            ("strategy", _strategy(config)),
            ("batch", _batch(config, task)),
            ("data shard", _shard(config, task)),
            ("evaluation", _evaluation(config, task)),
            ("model_dir", config.model_dir),
            ("data_dir", config.data_dir),
            ("TF_CONFIG", task.tf_config()),
        ]
    )


def _strategy(config: TrainConfig) -> str:
    if config.strategy == roles.AUTO:
        return "none; mirrored if this machine has several GPUs"
    return config.strategy


def _batch(config: TrainConfig, task: roles.Task) -> str:
    size, trainers = config.batch_size, task.num_trainers
    if config.strategy == "ps":
        return f"{size} examples a step of each worker on its own"
    if config.strategy == "mirrored":
        return f"{size} examples a step, in even slices for the GPUs of this machine"
    if config.strategy != "multi_worker":
        return f"{size} examples a step"
    if size % trainers:
        return (
            f"{size} examples a step do not split evenly over {trainers} workers: training will "
            f"stop and ask for a multiple of {trainers}"
        )
    return f"{size} examples a step of all workers together, {size // trainers} of each worker"


def _shard(config: TrainConfig, task: roles.Task) -> str:
    if task.role not in roles.TRAINERS:
        return "none, as it does not train"
    place = f"{task.trainer + 1} of {task.num_trainers}"
    if config.strategy == "ps":
        return f"examples of shard {place}"
    if config.strategy == "multi_worker":
        return f"slice {place} of each global batch"
    return "all examples"


def _evaluation(config: TrainConfig, task: roles.Task) -> str:
    if config.eval_split == "none":
        return "none while training (--eval_split=none)"
    who = "a task of its own, the evaluator" if task.has_evaluator else "the chief"
    if task.role == roles.EVALUATOR or (task.is_chief and not task.has_evaluator):
        who += ": this task"
    return f"each checkpoint, by {who}"


def _answers(task: roles.Task, probe_all: Probe) -> Iterable[tuple[str, str]]:
    """A line for each other task that has a port: its name, address and whether it answers."""
    others = dict(task.peers)
    if not task.jobs and not task.is_chief and task.chief_address:
        others[roles.CHIEF] = task.chief_address
    width = max(map(len, others.values()), default=0)
    for name, answer in probe_all(others).items():
        yield f"peer {name}", f"{others[name]:{width}}  {_MEANINGS[answer]}"
    if not others:
        yield "peers", "none"


def _aligned(lines: Iterable[tuple[str, str]]) -> str:
    lines = list(lines)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}}  {value}" for name, value in lines)
