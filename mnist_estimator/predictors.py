"""What a trained model says of pictures, whether it comes from a checkpoint or from an export.

Both ask the same signature, `serving.PREDICT_IMAGES`, so they give the same answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from mnist_estimator import InputError, exports, files, serving
from mnist_estimator.compat import tf, v1
from mnist_estimator.model_fn import PROBABILITIES
from mnist_estimator.records import error_line
from mnist_estimator.runs import OpenRun


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a picture shows: the likeliest two classes, by name and probability, if it has ink."""

    has_ink: bool
    best: tuple[tuple[str, float], tuple[str, float]]


class Predictor:
    """A network with its weights, ready to look at pictures."""

    def __init__(
        self, session: v1.Session, signature: serving.Signature, class_names: Sequence[str]
    ) -> None:
        self._session = session
        self._signature = signature
        self._class_names = class_names

    def predict(self, encoded: Sequence[bytes]) -> list[Answer | InputError]:
        """What pictures, whole PNG or JPEG files, show; for one that is broken, its error."""
        if not encoded:
            return []
        try:
            return self._predict(encoded)
        except tf.errors.InvalidArgumentError as error:
            if len(encoded) == 1:
                return [InputError(f"cannot be decoded: {_decoder_line(error)}")]
            # One of them cannot be decoded: each by itself shows which.
            return [answer for picture in encoded for answer in self.predict([picture])]

    def _predict(self, encoded: Sequence[bytes]) -> list[Answer]:
        outputs = self._signature.outputs
        fetches = {key: outputs[key] for key in (PROBABILITIES, serving.HAS_INK)}
        asked = {self._signature.inputs[serving.IMAGE_BYTES]: np.array(encoded, object)}
        values = self._session.run(fetches, asked)
        return [
            Answer(bool(has_ink), self._best(probabilities))
            for probabilities, has_ink in zip(*values.values(), strict=True)
        ]

    def _best(self, probabilities: np.ndarray) -> tuple[tuple[str, float], tuple[str, float]]:
        first, second = np.argsort(-probabilities, kind="stable")[:2]
        names = self._class_names
        return (
            (names[first], float(probabilities[first])),
            (names[second], float(probabilities[second])),
        )


@contextlib.contextmanager
def from_checkpoint(run: OpenRun) -> Iterator[Predictor]:
    """A predictor with the weights of an open run's checkpoint."""
    names, data = [serving.PREDICT_IMAGES], run.trained_on
    with tf.Graph().as_default():
        built = serving.build(names, run.params, data)
        with serving.restored(run.checkpoint) as session:
            yield Predictor(session, built[serving.PREDICT_IMAGES], data.class_names)


@contextlib.contextmanager
def from_export(export_dir: str) -> Iterator[Predictor]:
    """A predictor from a SavedModel that `exports.export` has written.

    Raises:
      InputError: if there is none.
      RunError: if it cannot be loaded.
    """
    path = os.path.join(export_dir, "assets", exports.CLASS_NAMES_FILE)
    names = files.read_bytes(path)
    if names is None:
        raise InputError(
            f"--export_dir: found no {path}, expected an exported model, as "
            "MODEL_DIR/export/best/STEP"
        )
    with serving.loaded(export_dir, serving.PREDICT_IMAGES) as (session, signature):
        yield Predictor(session, signature, names.decode("utf-8").splitlines())


def _decoder_line(error: tf.errors.OpError) -> str:
    # Of the nested ops that an error names, the innermost reason comes first.
    line = error_line(error)
    return line.split("{{node")[0].strip(" ,;[") or line
