"""What a trained model says of pictures, whether it comes from a checkpoint or from an export.

Both ask the same signature, `serving.PREDICT_IMAGES`, so they give the same answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.model_fn import PROBABILITIES
from mnist_estimator.pictures.methods import DIGIT, PICTURES
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files, json_files, progress
from mnist_estimator.runtime.files import error_line, file_errors
from mnist_estimator.serving import saved_model, signatures


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a picture shows: the likeliest two classes, by name and probability, if it has ink.

    `doubt` is what a decoder says of a damaged file that it decoded all the same.
    """

    has_ink: bool
    best: tuple[tuple[str, float], tuple[str, float]]
    doubt: str = ""


class Predictor:
    """A network with its weights, ready to look at pictures.

    `pictures` says how it prepares them, of `methods.PICTURES`.
    """

    def __init__(
        self,
        session: v1.Session,
        signature: signatures.Signature,
        class_names: Sequence[str],
        pictures: str,
    ) -> None:
        self._session = session
        self._signature = signature
        self._class_names = class_names
        self.pictures = pictures

    def predict(self, encoded: Sequence[bytes]) -> list[Answer | InputError]:
        """What pictures, whole PNG or JPEG files, show; for one that is broken, its error."""
        if not encoded:
            return []
        doubts: list[str] = []
        try:
            with _decoders_doubts(doubts):
                answers = self._predict(encoded)
        except tf.errors.InvalidArgumentError as error:
            if len(encoded) == 1:
                return [InputError(f"cannot be decoded: {_decoder_line(error)}")]
            answers = []
        if len(encoded) > 1 and (doubts or not answers):
            # Something is wrong with one of them: each by itself shows with which.
            return [answer for picture in encoded for answer in self.predict([picture])]
        if doubts and isinstance(answers[0], Answer):
            answers[0] = dataclasses.replace(answers[0], doubt=doubts[0])
        return answers

    def _predict(self, encoded: Sequence[bytes]) -> list[Answer | InputError]:
        outputs = self._signature.outputs
        # Exports of earlier versions lack the last.
        keys = (PROBABILITIES, signatures.HAS_INK, signatures.PROBLEM)
        fetches = {key: outputs[key] for key in keys if key in outputs}
        asked = {self._signature.inputs[signatures.IMAGE_BYTES]: np.array(encoded, object)}
        found = self._session.run(fetches, asked)
        values = (found[PROBABILITIES], found[signatures.HAS_INK])
        problems = found.get(signatures.PROBLEM, [b""] * len(encoded))
        return [
            InputError(problem.decode())
            if problem
            else Answer(bool(has_ink), self._best(probabilities))
            for probabilities, has_ink, problem in zip(*values, problems, strict=True)
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
    names, data = [signatures.PREDICT_IMAGES], run.trained_on
    with tf.Graph().as_default():
        built = signatures.build(names, run.params, data)
        with signatures.restored(run.checkpoint) as session:
            signature = built[signatures.PREDICT_IMAGES]
            yield Predictor(session, signature, data.class_names, data.pictures)


@contextlib.contextmanager
def from_export(export_dir: str) -> Iterator[Predictor]:
    """A predictor from a SavedModel that `exports.export` has written.

    Raises:
      InputError: if there is none.
      RunError: if it cannot be loaded.
    """
    names = _class_names_of(export_dir)
    with signatures.loaded(export_dir, signatures.PREDICT_IMAGES) as (session, signature):
        classes = signature.outputs[PROBABILITIES].shape[-1]
        if len(names) != classes:
            raise RunError(
                f"{_names_file(export_dir)}: found {len(names):,} names, expected {classes}, one "
                "for each class of the model; export it again"
            )
        yield Predictor(session, signature, names, _pictures_of(export_dir))


def _names_file(export_dir: str) -> str:
    return os.path.join(export_dir, "assets", saved_model.CLASS_NAMES_FILE)


def _class_names_of(export_dir: str) -> list[str]:
    """The lines of an export's class names.

    Raises:
      InputError: if there are none.
      RunError: if they are no text.
    """
    path = _names_file(export_dir)
    names = _content(path)
    if names is None:
        raise InputError(
            f"--export_dir: found no {path}, expected an exported model, as "
            "MODEL_DIR/export/best/STEP"
        )
    try:
        # Not splitlines: a name may have what that takes for a line's end.
        return names.decode("utf-8").removesuffix("\n").split("\n")
    except ValueError:
        raise RunError(f"{path}: damaged, expected UTF-8; export the model again") from None


def _pictures_of(export_dir: str) -> str:
    """How an exported model prepares pictures.

    Raises:
      RunError: if it does not say so in a way that this version knows.
    """
    path = os.path.join(export_dir, saved_model.EXTRA_FOLDER, saved_model.MODEL_FILE)
    data = _content(path)
    try:
        model = json_files.expect(json_files.parse(data or b"{}"), dict, "the whole")
        # Where it does not say so, an earlier version has exported it.
        return json_files.choice(model.get("pictures", DIGIT), "pictures", PICTURES)
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); export the model again") from None


def _content(path: str) -> bytes | None:
    with file_errors(path):
        return files.read_bytes(path, json_files.MOST_BYTES)


@contextlib.contextmanager
def _decoders_doubts(doubts: list[str]) -> Iterator[None]:
    """Keeps from standard error what decoders write to it, which names no file.

    Args:
      doubts: takes what they say of damage that did not stop them.
    """
    with contextlib.ExitStack() as stack:
        # There may be no standard error, and no room for a temporary file.
        with contextlib.suppress(OSError):
            written = stack.enter_context(tempfile.TemporaryFile())
            stderr = stack.enter_context(open(os.dup(2), "wb"))
            os.dup2(written.fileno(), 2)
            stack.callback(_pass_on, written, doubts)
            stack.callback(os.dup2, stderr.fileno(), 2)
        yield


def _pass_on(written: IO[bytes], doubts: list[str]) -> None:
    written.seek(0)
    for line in written.read().decode("utf-8", "replace").splitlines():
        if _DAMAGE.match(line):
            doubts.append(line)
        if _VERBOSE or (_LOGGED.match(line) and not _DECODERS.search(line)):
            progress.say(line, sys.stderr)


_VERBOSE = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
_LOGGED = re.compile(r"[EF]\d{4} |\d{4}-\d\d-\d\d ")  # By TensorFlow 2.21, and by 2.15.
_DECODERS = re.compile(r"\b(jpeg_mem|png_io|gif_io)\.cc\b")
# Of libjpeg. What lies between a scan and the end, which `decoding` may have added, does no harm.
_DAMAGE = re.compile(r"Corrupt JPEG data: (?!\d+ extraneous bytes before marker 0x(d9|01))")


def _decoder_line(error: tf.errors.OpError) -> str:
    # Of the nested ops that an error names, the innermost reason comes first.
    line = error_line(error)
    return line.split("{{node")[0].strip(" ,;[") or line
