"""Compares what an object store costs with what the local disk costs.

  python benchmarks/storage_speed.py --data_dir=data/mnist
  python benchmarks/storage_speed.py --data_dir=data/mnist --compare=stream,checkpoint --turns=9

train: a whole `train` of --steps steps that holds the data in memory, start included; the store's
side begins with an empty --cache_dir. train_stream: the same, streamed. stream: batches without
training, the first epoch and the second one, on the store's side from an empty cache. checkpoint,
restore: TensorFlow's Saver, of the cnn with Adam. export: a SavedModel of it. prepare: IDX files to
a data_dir.

Both sides take turns (A B A B ...), so that a machine that speeds up or slows down does so for
both. A ratio is the disk's time divided by the store's: 1 is as fast, 0.5 takes twice as long. The
store is SeaweedFS on loopback, started and ended here; it takes its share of the same processors.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from absl import app, flags

from mnist_estimator import storage
from mnist_estimator.data import inputs, shard_cache, sources
from mnist_estimator.data.manifest import Dataset, read_manifest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from support import object_stores  # noqa: E402

_DATA_DIR = flags.DEFINE_string("data_dir", "data/mnist", "Folder with prepared records.")
_SOURCE_DIR = flags.DEFINE_string("source_dir", "", "Folder with IDX files, for prepare.")
_STEPS = flags.DEFINE_integer("steps", 300, "Steps of a training.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 5, "Turns of each side.", lower_bound=1)
_COMPARE = flags.DEFINE_list("compare", [], "What; default: everything.")
_BATCH = 100

# From a folder of a side, to write to, to the seconds that each part of a turn took.
Turn = Callable[[str], dict[str, float]]


def main(_: list[str]) -> None:
    """Measures and prints a line for each part."""
    with tempfile.TemporaryDirectory() as local, object_stores.server() as server:
        os.environ |= object_stores.environment(server.endpoint)
        bucket = f"s3://{server.make_bucket()}"
        storage.install_for(bucket)
        _copy(_DATA_DIR.value, f"{bucket}/data")
        data = {local: _DATA_DIR.value, bucket: f"{bucket}/data"}
        for name in _COMPARE.value or MEASURES:
            _report(_times(MEASURES[name](data), list(data)))


def _times(turn: Turn, sides: list[str]) -> list[list[dict[str, float]]]:
    for side in sides:
        turn(side)  # Warms up.
    return [[turn(side) for side in sides] for _ in range(_TURNS.value)]


def _report(times: list[list[dict[str, float]]]) -> None:
    for part in times[0][0]:
        disk, store = ([pair[side][part] for pair in times] for side in (0, 1))
        ratios = sorted(first / second for first, second in zip(disk, store, strict=True))
        print(
            f"{part}: disk {statistics.median(disk):.3f} s, store {statistics.median(store):.3f} s;"
            f" ratio: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f} "
            f"over {len(ratios)} pairs",
            flush=True,
        )


def _train(data: dict[str, str], name: str = "train, in memory", *more: str) -> Turn:
    path = os.environ | {"PYTHONPATH": str(ROOT)}

    def turn(side: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "mnist_estimator.train", f"--data_dir={data[side]}"]
            words += [f"--model_dir={folder}/run", f"--cache_dir={folder}/cache", "--export=none"]
            words += [f"--max_steps={_STEPS.value}", "--model=softmax", "--eval_split=none", *more]
            with _timed() as seconds:
                subprocess.run(words, check=True, capture_output=True, timeout=600, env=path)
        return {name: seconds[0]}

    return turn


def _train_stream(data: dict[str, str]) -> Turn:
    return _train(data, "train, streamed", "--cache_mb=0")


def _stream(data: dict[str, str]) -> Turn:
    from mnist_estimator.compat import tf, v1

    def turn(side: str) -> dict[str, float]:
        found = Dataset(data[side], read_manifest(data[side]))
        batches = found.manifest.num_examples("train") // _BATCH
        parts = {}
        with (
            tempfile.TemporaryDirectory() as cache,
            shard_cache.opened(found, folder=cache, limit=None),
            tf.Graph().as_default(),
        ):
            drawn = inputs.train_batches(
                found,
                start_step=0,
                batch_size=_BATCH,
                seed=0,
                cache_bytes=0,
                shuffle_buffer=20_000,
            )
            batch = v1.data.make_one_shot_iterator(drawn).get_next()
            with v1.Session() as session:
                for part in ("stream, first epoch", "stream, second epoch"):
                    with _timed() as seconds:
                        for _ in range(batches):
                            session.run(batch)
                    parts[part] = seconds[0]
        return parts

    return turn


def _checkpoint(data: dict[str, str]) -> Turn:
    saver, session, *_ = _model(data)

    def turn(side: str) -> dict[str, float]:
        with session.graph.as_default():
            with _timed() as saved:
                path = saver.save(session, f"{side}/checkpoint/model.ckpt", write_meta_graph=False)
            with _timed() as restored:
                saver.restore(session, path)
        return {"checkpoint": saved[0], "restore": restored[0]}

    return turn


def _export(data: dict[str, str]) -> Turn:
    from mnist_estimator.serving import saved_model

    saver, session, params, manifest = _model(data)
    with session.graph.as_default():
        checkpoint = saver.save(session, f"{next(iter(data))}/of_export/model.ckpt", global_step=1)

    def turn(side: str) -> dict[str, float]:
        folder = f"{side}/export/{secrets.token_hex(4)}"
        with _timed() as seconds:
            saved_model.export(params, manifest, checkpoint, folder)
        return {"export": seconds[0]}

    return turn


def _model(data: dict[str, str]):
    """(Saver, session, params, manifest) of the cnn with Adam, as it starts."""
    from mnist_estimator import model_fn
    from mnist_estimator.compat import estimator, tf, v1
    from mnist_estimator.config import TrainConfig

    manifest = read_manifest(_DATA_DIR.value)
    params = TrainConfig().model_params(manifest)
    with tf.Graph().as_default():
        v1.train.create_global_step()
        dataset = Dataset(_DATA_DIR.value, manifest)
        batches = inputs.eval_batches(dataset, "test", batch_size=_BATCH)
        features, labels = v1.data.make_one_shot_iterator(batches).get_next()
        model_fn.model_fn(features, labels, estimator.ModeKeys.TRAIN, params)
        saver, session = v1.train.Saver(), v1.Session()
        session.run(v1.global_variables_initializer())
    return saver, session, params, manifest


def _prepare(data: dict[str, str]) -> Turn:
    def turn(side: str) -> dict[str, float]:
        opened = sources.from_folder(_SOURCE_DIR.value)
        with _timed() as seconds:
            opened.write(f"{side}/prepared/{secrets.token_hex(4)}", shards=8)
        return {"prepare": seconds[0]}

    return turn


MEASURES = {
    "stream": _stream,
    "checkpoint": _checkpoint,
    "export": _export,
    "train": _train,
    "train_stream": _train_stream,
    "prepare": _prepare,
}


@contextlib.contextmanager
def _timed() -> Iterator[list[float]]:
    seconds, started = [], time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - started)


def _copy(source: str, target: str) -> None:
    from mnist_estimator.compat import tf

    for name in os.listdir(source):
        tf.io.gfile.copy(os.path.join(source, name), f"{target}/{name}")


if __name__ == "__main__":
    app.run(main)
