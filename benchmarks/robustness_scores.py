"""Scores a run on clean and on corrupted test images, and with a temperature for its answers."""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks import corruptions
from mnist_estimator import InputError, config, model_fn, predictions
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.data import inputs, splits
from mnist_estimator.data.manifest import Dataset, Manifest
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.runs import ensemble
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files
from mnist_estimator.scoring import temperature
from mnist_estimator.scoring.scores import Scores
from mnist_estimator.serving import sessions

CLEAN = "clean"
KINDS = (CLEAN, *corruptions.CORRUPTIONS)
MEAN = "mean of the corruptions"

_BATCH_SIZE = 1000
_DIGITS = 12  # Images of each kind in the picture.
_ZOOM = 2

Answer = Callable[[np.ndarray], np.ndarray]  # Of images uint8 [B,H,W] the logits, float32 [B,K].


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images uint8 [N,H,W] and labels int64 [N]."""

    images: np.ndarray
    labels: np.ndarray


class Row(NamedTuple):
    """What a run does on one of KINDS, or on the corrupted ones on average."""

    images: str
    accuracy: float
    calibration_error: float
    scaled_calibration_error: float | None


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run does on the test split.

    Attributes:
      scores: for each of KINDS.
      temperature: the one that fits the validation split best; None if there is none.
      scaled: as `scores`, of the answers with this temperature; empty without one.
    """

    scores: dict[str, Scores]
    temperature: float | None
    scaled: dict[str, Scores]

    def rows(self) -> list[Row]:
        """A row for each of KINDS in their order, and one for the mean of all but the first."""
        rows = []
        for kind, scores in self.scores.items():
            scaled = self.scaled[kind].calibration_error if self.scaled else None
            rows.append(Row(kind, scores.accuracy, scores.calibration_error, scaled))
        columns = zip(*rows[1:], strict=True)
        next(columns)
        means = [None if None in column else float(np.mean(column)) for column in columns]
        return [*rows, Row(MEAN, *means)]


def open_runs(text: str, views: int) -> OpenRun:
    """Opens a run, or runs with commas in between that answer together.

    Raises:
      InputError: as `ensemble.open_runs`, or if the images are not of one channel up to 255.
    """
    named = types.SimpleNamespace(model_dir=text, checkpoint="", model="")
    run = ensemble.open_runs(config.runs(named), views=views)
    shape, white = run.trained_on.image_shape, full_scale(run.trained_on.brightest_pixel)
    if shape[2] != 1 or white != 255:
        raise InputError(
            f"--model_dir: {text} was trained on images {shape} in which white is {white}, "
            "expected one channel, in which it is 255"
        )
    return run


def read_test(runs: Mapping[str, OpenRun], data_dir: str = "", most: int = 0) -> Examples:
    """The test split of all runs, or the first `most` examples of it.

    Args:
      data_dir: as for `OpenRun.data`.
      most: 0 for all of them.

    Raises:
      InputError: if there are none, if they cannot be read, or if the runs have others each.
    """
    names = list(runs)
    first, *others = (
        _read(*run.data(data_dir, splits.TEST), splits.TEST, most) for run in runs.values()
    )
    for name, other in zip(names[1:], others, strict=True):
        for what in ("images", "labels"):
            if not np.array_equal(getattr(other, what), getattr(first, what)):
                raise InputError(
                    f"--model_dir: the data of {name} have other test {what} than those of "
                    f"{names[0]}, or in another order, expected the same; give --data_dir"
                )
    return first


def measure(
    run: OpenRun,
    test: Examples,
    *,
    data_dir: str = "",
    seed: int = 0,
    show: Callable[[str], None] = lambda line: None,
) -> Result:
    """Scores a run on the test split, clean and in each way corrupted; its network is loaded once.

    Args:
      data_dir: that of the validation split, as for `OpenRun.data`.
      seed: of the corruptions.
      show: is called often, with a line that says how far the work is.
    """
    num_classes, scores, scaled = run.trained_on.num_classes, {}, {}
    with _opened(run) as answer:
        fitted = _temperature(run, data_dir, answer)
        for kind in KINDS:
            scores[kind], scaled[kind] = (Scores(num_classes, worst=0) for _ in range(2))
            for first in range(0, len(test.labels), _BATCH_SIZE):
                show(f"{kind}: {first:,} of {len(test.labels):,} images")
                labels = test.labels[first : first + _BATCH_SIZE]
                images = test.images[first : first + _BATCH_SIZE]
                logits = answer(corrupted(kind, images, seed=seed, first=first))
                index = np.arange(first, first + len(labels))
                scores[kind].add(labels, logits, images, index)
                scaled[kind].add(labels, logits / (fitted or 1), images, index)
    return Result(scores, fitted, scaled if fitted else {})


def corrupted(kind: str, images: np.ndarray, *, seed: int, first: int = 0) -> np.ndarray:
    """As `corruptions.corrupt`; the images as they are for CLEAN."""
    if kind == CLEAN:
        return images
    return corruptions.corrupt(kind, images, seed=seed, first=first)


def write_picture(path: str, images: np.ndarray, *, seed: int) -> None:
    """Writes a PNG with the first images of a split: a row for each of KINDS, in their order.

    Raises:
      InputError: if it cannot be written.
    """
    rows = [np.hstack(corrupted(kind, images[:_DIGITS], seed=seed)) for kind in KINDS]
    pixels = np.vstack(rows).repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
    files.write_bytes(path, tf.io.encode_png(pixels[..., None]).numpy())


def _temperature(run: OpenRun, data_dir: str, answer: Answer) -> float | None:
    """What `temperature.calibrated` finds, with the network that is loaded already."""
    data_dir, manifest = run.data(data_dir, splits.VALIDATION)
    if not manifest.num_examples(splits.VALIDATION):
        return None
    examples = _read(data_dir, manifest, splits.VALIDATION)
    batches = range(0, len(examples.labels), _BATCH_SIZE)
    logits = [answer(examples.images[first : first + _BATCH_SIZE]) for first in batches]
    return temperature.fit(np.concatenate(logits), examples.labels)


def _read(data_dir: str, manifest: Manifest, split: str, most: int = 0) -> Examples:
    dataset, found, count = Dataset(data_dir, manifest), [], 0
    inputs.check_split(dataset, split)
    with files.file_errors(data_dir), tf.Graph().as_default(), v1.Session() as session:
        batches = inputs.eval_batches(dataset, split, batch_size=_BATCH_SIZE)
        iterator = v1.data.make_initializable_iterator(batches)
        features, labels = iterator.get_next()
        session.run(iterator.initializer)
        with contextlib.suppress(tf.errors.OutOfRangeError):
            while not most or count < most:
                found.append(session.run((features[inputs.IMAGES], labels)))
                count += len(found[-1][1])
    images, labels = (np.concatenate(part)[: most or count] for part in zip(*found, strict=True))
    return Examples(images[..., 0], labels)


@contextlib.contextmanager
def _opened(run: OpenRun) -> Iterator[Answer]:
    """Loads a run's network; it computes as in an evaluation."""
    with tf.Graph().as_default():
        images = v1.placeholder(tf.uint8, [None, *run.trained_on.image_shape])
        features, mode = {inputs.IMAGES: images}, estimator.ModeKeys.PREDICT
        logits = model_fn.model_fn(features, None, mode, run.params).predictions[predictions.LOGITS]
        averages = predictions.uses_averages(run.params)
        with sessions.restore(run.checkpoint, averages=averages) as session:
            yield lambda batch: session.run(logits, {images: batch[..., None]})
