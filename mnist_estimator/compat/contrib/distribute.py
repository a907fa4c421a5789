"""Strategies of `tf.contrib.distribute`, with their arguments, over those of `v1.distribute`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from mnist_estimator.compat._loaded import tf, v1

_experimental = v1.distribute.experimental
_AUTO = _experimental.CollectiveCommunication.AUTO


class MirroredStrategy(v1.distribute.MirroredStrategy):
    """Copies the variables to each device of one machine.

    Args:
      devices: names of devices.
      num_gpus: how many of the machine's GPUs, 0 for the CPU; None: all. `num_gpus_per_worker` is
        another name for it.
      cross_device_ops: how gradients are added up. `cross_tower_ops` is another name for it.

    Raises:
      ValueError: if arguments exclude one another, or there are fewer GPUs.
      NotImplementedError: for auto_shard_dataset.
    """

    def __init__(
        self,
        devices: Sequence[str] | None = None,
        num_gpus: int | None = None,
        num_gpus_per_worker: int | None = None,
        cross_device_ops: Any = None,
        auto_shard_dataset: bool = False,
        cross_tower_ops: Any = None,
    ) -> None:
        _check_one("num_gpus", num_gpus, "num_gpus_per_worker", num_gpus_per_worker)
        _check_one("cross_device_ops", cross_device_ops, "cross_tower_ops", cross_tower_ops)
        count = num_gpus_per_worker if num_gpus is None else num_gpus
        _check_one("devices", devices, "num_gpus", count)
        if auto_shard_dataset:
            raise NotImplementedError(
                "auto_shard_dataset=True is not among the stand-ins; leave it out, and have the "
                "input_fn call dataset.shard"
            )
        super().__init__(
            devices if count is None else _local_devices(count),
            cross_device_ops=cross_device_ops or cross_tower_ops,
        )

    def make_dataset_iterator(self, dataset: Any) -> NoReturn:
        """Not there. Raises NotImplementedError."""
        raise NotImplementedError(
            "tf.contrib.distribute took a batch of the dataset for each device, and "
            "tf.compat.v1.distribute divides it: use the latter's MirroredStrategy with batches "
            "that are so many times as large, or make_input_fn_iterator"
        )


class OneDeviceStrategy(v1.distribute.OneDeviceStrategy):
    """All on one device."""


class CollectiveAllReduceStrategy(_experimental.MultiWorkerMirroredStrategy):
    """Copies the variables to each worker of the cluster in TF_CONFIG.

    Args:
      num_gpus_per_worker: how many GPUs each has; 0: the CPU.
    """

    def __init__(self, num_gpus_per_worker: int = 0, communication: Any = _AUTO) -> None:
        super().__init__(
            communication=communication, cluster_resolver=_cluster(num_gpus_per_worker)
        )


class ParameterServerStrategy(_experimental.ParameterServerStrategy):
    """Keeps the variables on the parameter servers of the cluster in TF_CONFIG.

    Args:
      num_gpus_per_worker: how many GPUs each worker has; 0: the CPU.
    """

    def __init__(self, num_gpus_per_worker: int = 0) -> None:
        super().__init__(cluster_resolver=_cluster(num_gpus_per_worker))


def _check_one(name: str, value: Any, other_name: str, other: Any) -> None:
    if value is not None and other is not None:
        raise ValueError(f"found both {name} and {other_name}, expected one")


def _local_devices(count: int) -> list[str]:
    if count == 0:
        return ["/device:CPU:0"]
    # In a cluster this process may be one that only drives those that have the GPUs.
    if "cluster" not in json.loads(os.environ.get("TF_CONFIG") or "{}"):
        found = len(tf.config.list_physical_devices("GPU"))
        if count > found:
            # Else TensorFlow would put all copies on the CPU, and say nothing.
            raise ValueError(
                f"num_gpus is {count}, expected at most {found}: so many GPUs are here"
            )
    return [f"/device:GPU:{number}" for number in range(count)]


def _cluster(num_gpus: int) -> Any:
    resolvers = v1.distribute.cluster_resolver
    found = resolvers.TFConfigClusterResolver()
    return resolvers.SimpleClusterResolver(
        found.cluster_spec(),
        task_type=found.task_type,
        task_id=found.task_id,
        num_accelerators={"GPU": num_gpus},
        rpc_layer=found.rpc_layer or "grpc",
    )
