"""Flips a bit of every byte of every kind of file that this package reads, and cuts it everywhere.

  python benchmarks/bit_flips.py

The files are small and made in a temporary folder. The outcome of each damage is one of:

  detected  an error that names the file, and for a shard the record; or an older checkpoint is
            taken, with a warning
  harmless  the file reads as it was written, bit for bit
  changed   an IDX file, which has no checksum, reads as another array
  broken    any other error, wrong data, a process that ends, or more than 10 seconds

Each broken outcome is printed at once and makes the exit status 1. A table comes last.
"""

from __future__ import annotations

import functools
import gzip
import multiprocessing
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_estimator import RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import idx, inputs, records, sources
from mnist_estimator.data.manifest import Dataset, ManifestError, read_manifest, shard_name
from mnist_estimator.runs import checkpoints

_LIMIT_SECS = 10
_EXAMPLES, _BATCH = 6, 3
_KINDS = ("detected", "harmless", "changed", "changed, by sha256", "broken")
_DETECTED, _HARMLESS, _CHANGED, _SHOWN, _BROKEN = _KINDS
_SHARD = shard_name("train", 0, 1)


class _Case(NamedTuple):
    """A whole file, its copy to damage, and the function that reads it: `read(case, flipped)`."""

    whole: Path
    work: Path
    name: str
    read: Callable[[_Case, int | None], str]


def main() -> int:
    """Returns the exit status."""
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        for case in _make_cases(Path(folder)):
            for what, damages in _damages(case.whole.read_bytes()).items():
                counts = Counter(_kind(case, what, *damage) for damage in damages)
                file = case.whole.relative_to(Path(folder, "whole"))
                numbers = (len(damages), *(counts[kind] for kind in _KINDS))
                rows.append(" | ".join(map(str, (file, case.name, what, *numbers))))
                failed |= counts[_BROKEN] > 0
        _worker().terminate()
    header = " | ".join(("file", "read by", "damage", "number", *_KINDS))
    line = "--- | --- | ---" + " | --:" * (len(_KINDS) + 1)
    print(*(f"| {row} |" for row in (header, line, *rows)), sep="\n")
    return int(failed)


def _damages(data: bytes) -> dict[str, list[tuple[int, bytes]]]:
    dice = random.Random(0)
    flipped = (bytes([byte ^ 1 << dice.randrange(8)]) for byte in data)
    flips = [(at, data[:at] + byte + data[at + 1 :]) for at, byte in enumerate(flipped)]
    return {"flip": flips, "cut": [(at, data[:at]) for at in range(len(data))]}


def _kind(case: _Case, what: str, at: int, damaged: bytes) -> str:
    case.work.write_bytes(damaged)
    try:
        arguments = (case, at if what == "flip" else None)
        outcome = _worker().apply_async(_outcome, arguments).get(_LIMIT_SECS)
    except multiprocessing.TimeoutError:
        _worker().terminate()
        _worker.cache_clear()
        outcome = f"{_BROKEN}: no answer in {_LIMIT_SECS} seconds, or the process ended"
    shutil.copyfile(case.whole, case.work)
    if outcome.startswith(_BROKEN):
        print(f"{case.work}, {case.name}, {what} at {at}: {outcome}", flush=True)
    return outcome.partition(":")[0]


@functools.cache
def _worker():
    pool = multiprocessing.get_context("spawn").Pool(1)  # TensorFlow might end the process.
    pool.apply(abs, (0,))  # Until it has imported TensorFlow, which takes its time.
    return pool


def _make_cases(root: Path) -> list[_Case]:
    whole, work = root / "whole", root / "work"
    _make_files(whole)
    shutil.copytree(whole, work)
    readers = [
        ("*.idx*", "read_idx", _read_idx),
        ("data/*.tfrecord", "find_damage", _find_damage),
        ("data/*.tfrecord", "train_batches, in memory", functools.partial(_train_batches, 2**20)),
        ("data/*.tfrecord", "train_batches, streamed", functools.partial(_train_batches, 0)),
        ("data/manifest.json", "read_manifest", _read_manifest),
        ("*sealed/checkpoint", "newest_whole", _newest_whole),
        ("*sealed/model.ckpt-2.*", "newest_whole", _newest_whole),
    ]
    return [
        _Case(path, work / path.relative_to(whole), name, read)
        for pattern, name, read in readers
        for path in sorted(whole.glob(pattern))
    ]


def _make_files(folder: Path) -> None:
    folder.mkdir()
    images = np.random.default_rng(0).integers(256, size=(_EXAMPLES, 4, 4), dtype=np.uint8)
    arrays = {"train_images": images, "train_labels": np.arange(_EXAMPLES, dtype=np.uint8) % 3}
    for role, array in arrays.items():
        with open(folder / f"{role}.idx", "wb") as file:
            idx.write_idx(file, array)
        content = Path(file.name).read_bytes()
        Path(f"{file.name}.gz").write_bytes(gzip.compress(content, mtime=0))
    paths = {role: str(folder / f"{role}.idx") for role in arrays}
    sources.from_idx(paths).write(str(folder / "data"), shards=1, validation_split="0")
    _make_checkpoints(folder / "sealed")
    seals = shutil.ignore_patterns("*.sha256")
    shutil.copytree(folder / "sealed", folder / "unsealed", ignore=seals)


def _make_checkpoints(folder: Path) -> None:
    folder.mkdir()
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [v1.train.get_or_create_global_step()]
        variables += [v1.get_variable(name, [3, 4]) for name in ("kernel", "other")]
        advance = [variable.assign_add(variable + 1) for variable in variables]
        saver = v1.train.Saver()
        session.run(v1.global_variables_initializer())
        for step in (1, 2):
            session.run(advance)
            path = str(folder / checkpoints.BASENAME)
            path = saver.save(session, path, global_step=step, write_meta_graph=False)
            checkpoints.seal(path)


def _outcome(case: _Case, flipped: int | None) -> str:
    try:
        return case.read(case, flipped)
    except Exception as error:
        return f"{_BROKEN}: {error!r}"


def _read_idx(case: _Case, _: int | None) -> str:
    try:
        array, digest = _array(case.work)
    except idx.IdxError:
        return _DETECTED
    whole, whole_digest = _array(case.whole)
    return _HARMLESS if array == whole else _CHANGED if digest == whole_digest else _SHOWN


def _array(path: Path) -> tuple[list[tuple], str]:
    with open(path, "rb") as file:
        reader = idx.IdxReader(file, name=path.name)
        return _bits(reader.chunks(_EXAMPLES)), reader.sha256


def _find_damage(case: _Case, flipped: int | None) -> str:
    manifest = read_manifest(str(case.whole.parent))
    problem = records.find_damage(Dataset(str(case.work.parent), manifest))
    size = case.whole.stat().st_size // _EXAMPLES  # All records are of one size.
    expected = f"{_SHARD}: " if flipped is None else f"{_SHARD}: record {flipped // size} "
    return _DETECTED if problem.startswith(expected) else f"{_BROKEN}: {problem}"


def _read_manifest(case: _Case, _: int | None) -> str:
    try:
        manifest = read_manifest(str(case.work.parent))
    except ManifestError:
        return _DETECTED
    whole = read_manifest(str(case.whole.parent))
    return _HARMLESS if manifest == whole else f"{_BROKEN}: {manifest}"


def _train_batches(cache_bytes: int, case: _Case, _: int | None) -> str:
    try:
        found = _epoch(case.work.parent, cache_bytes)
    except tf.errors.OpError:
        return _DETECTED
    whole = _epoch(case.whole.parent, cache_bytes)
    return _HARMLESS if found == whole else f"{_BROKEN}: {len(found)} other tensors"


def _epoch(data_dir: Path, cache_bytes: int) -> list[tuple]:
    batches = _batches(str(data_dir), cache_bytes).take(_EXAMPLES // _BATCH)
    return _bits(tensor.numpy() for batch in batches for tensor in tf.nest.flatten(batch))


@functools.cache
def _batches(data_dir: str, cache_bytes: int) -> tf.data.Dataset:
    """The files are read by each iteration."""
    options = {"start_step": 0, "batch_size": _BATCH, "seed": 1, "shuffle_buffer": 2}
    manifest = read_manifest(data_dir)
    return inputs.train_batches(Dataset(data_dir, manifest), cache_bytes=cache_bytes, **options)


def _newest_whole(case: _Case, _: int | None) -> str:
    warnings = []
    try:
        path = checkpoints.newest_whole(str(case.work.parent), warnings.append)
    except RunError:
        return _DETECTED
    name = Path(path).name
    if _variables(path) != _variables(str(case.whole.parent / name)):
        return f"{_BROKEN}: other variables in {name}"
    if name == "model.ckpt-2":
        return _HARMLESS
    return _DETECTED if warnings else f"{_BROKEN}: {name} without a warning"


def _variables(path: str) -> list:
    reader = tf.train.load_checkpoint(path)
    names = sorted(reader.get_variable_to_shape_map())
    return [names, *_bits(np.asarray(reader.get_tensor(name)) for name in names)]


def _bits(arrays: Iterable[np.ndarray]) -> list[tuple]:
    return [(array.dtype, array.shape, array.tobytes()) for array in arrays]


if __name__ == "__main__":
    sys.exit(main())
