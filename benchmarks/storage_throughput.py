"""How fast TensorFlow reads and writes an object store, against the local disk.

It starts SeaweedFS on loopback, as the tests do, and takes turns between the two places:

    python benchmarks/storage_throughput.py --megabytes=100 --rounds=5

Each line has the median of the store's rate over the disk's in the same round, and the lowest and
highest of them. The store shares the cores of this machine with its client.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mnist_estimator import storage
from mnist_estimator.compat import tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import object_stores

_RECORD = 100_000


def write_records(folder: str, megabytes: int) -> None:
    """Write one file of records."""
    record = os.urandom(_RECORD)
    with tf.io.TFRecordWriter(f"{folder}/records") as writer:
        for _ in range(megabytes * 1_000_000 // _RECORD):
            writer.write(record)


def read_records(folder: str, megabytes: int) -> None:
    """Read it in order, as training does."""
    found = sum(1 for _ in tf.data.TFRecordDataset(f"{folder}/records", buffer_size=1 << 20))
    if found != megabytes * 1_000_000 // _RECORD:
        raise RuntimeError(f"{found} records")


def save(folder: str, megabytes: int) -> None:
    """Write a checkpoint of one large variable."""
    values = tf.random.stateless_normal([megabytes * 250_000], seed=[1, 2])
    tf.train.Checkpoint(v=tf.Variable(values)).write(f"{folder}/checkpoint")


def restore(folder: str, megabytes: int) -> None:
    """Read it back."""
    variable = tf.Variable(tf.zeros([megabytes * 250_000]))
    tf.train.Checkpoint(v=variable).read(f"{folder}/checkpoint").assert_consumed()


JOBS: tuple[Callable[[str, int], None], ...] = (write_records, read_records, save, restore)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with object_stores.server() as server, tempfile.TemporaryDirectory() as local:
        os.environ.update(object_stores.environment(server.endpoint))
        storage.install()
        folders = (local, f"s3://{server.make_bucket()}/benchmark")
        times = _measured(folders, options.megabytes, options.rounds)
    print(f"{options.megabytes} MB, {options.rounds} rounds; MB/s, store over disk")
    for job in JOBS:
        disk, store = (times[job.__name__, folder] for folder in folders)
        ratios = sorted(one / other for one, other in zip(disk, store, strict=True))
        rates = [options.megabytes / statistics.median(each) for each in (disk, store)]
        print(
            f"{job.__name__:14} disk {rates[0]:5.0f}  store {rates[1]:5.0f}  "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def _measured(
    folders: tuple[str, ...], megabytes: int, rounds: int
) -> dict[tuple[str, str], list[float]]:
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for folder in folders:
            for job in JOBS:
                start = time.perf_counter()
                job(folder, megabytes)
                # The first round warms up.
                if number:
                    times.setdefault((job.__name__, folder), []).append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
