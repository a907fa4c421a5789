"""Predicts what pictures show, with the weights of a checkpoint or with an exported model.

Both use the signature `signatures.PREDICT_IMAGES`, so they give the same answers.
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
from mnist_estimator.pictures.methods import DIGIT, PICTURES
from mnist_estimator.predictions import PROBABILITIES, uses_averages
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files, json_files, progress
from mnist_estimator.runtime.files import error_line, file_errors
from mnist_estimator.scoring.scores import UNDEFINED
from mnist_estimator.serving import saved_model, sessions, signatures


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a picture shows.

    Attributes:
      has_ink: False if the picture should show a digit, and shows nothing.
      best: the two likeliest classes, by name and probability.
      doubt: what a decoder says of a damaged file that it decoded all the same; else "".
    """

    has_ink: bool
    best: tuple[tuple[str, float], tuple[str, float]]
    doubt: str = ""


class Predictor:
    """A network with its weights, ready to predict.

    Attributes:
      pictures: how pictures are prepared, one of `methods.PICTURES`.
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
        """For each picture, a whole PNG or JPEG file: an answer, or what is wrong with it."""
        if not encoded:
            return []
        doubts: list[str] = []
        try:
            with _capture_decoder_lines(doubts):
                answers = self._predict(encoded)
        except tf.errors.InvalidArgumentError as error:
            if len(encoded) == 1:
                return [InputError(f"cannot be decoded: {_decoder_line(error)}")]
            answers = []
        if len(encoded) > 1 and (doubts or not answers):
            # One of them is damaged. Predicting halves, again and again, shows which.
            middle = len(encoded) // 2
            return self.predict(encoded[:middle]) + self.predict(encoded[middle:])
        if doubts and isinstance(answers[0], Answer):
            answers[0] = dataclasses.replace(answers[0], doubt=doubts[0])
        return answers

    def _predict(self, encoded: Sequence[bytes]) -> list[Answer | InputError]:
        outputs = self._signature.outputs
        # Exports of earlier versions lack PROBLEM.
        keys = (PROBABILITIES, signatures.HAS_INK, signatures.PROBLEM)
        fetches = {key: outputs[key] for key in keys if key in outputs}
        asked = {self._signature.inputs[signatures.IMAGE_BYTES]: np.array(encoded, object)}
        found = self._session.run(fetches, asked)
        values = (found[PROBABILITIES], found[signatures.HAS_INK])
        problems = found.get(signatures.PROBLEM, [b""] * len(encoded))
        return [self._answer(*each) for each in zip(*values, problems, strict=True)]

    def _answer(
        self, probabilities: np.ndarray, has_ink: bool, problem: bytes
    ) -> Answer | InputError:
        if problem:
            return InputError(problem.decode())
        if has_ink and not np.isfinite(probabilities).all():
            return InputError(f"the network's answer {UNDEFINED}")
        return Answer(bool(has_ink), self._best(probabilities))

    def _best(self, probabilities: np.ndarray) -> tuple[tuple[str, float], tuple[str, float]]:
        first, second = np.argsort(-probabilities, kind="stable")[:2]
        names = self._class_names
        return (
            (names[first], float(probabilities[first])),
            (names[second], float(probabilities[second])),
        )


@contextlib.contextmanager
def from_checkpoint(run: OpenRun) -> Iterator[Predictor]:
    """A predictor with the weights of an open run's checkpoint.

    Raises:
      RunError: if the checkpoint cannot be restored.
    """
    data = run.trained_on
    with tf.Graph().as_default():
        names, receivers = [signatures.PREDICT_IMAGES], signatures.WITH_KEPT_PICTURES
        built = signatures.build(names, run.params, data, receivers)
        with sessions.restore(run.checkpoint, averages=uses_averages(run.params)) as session:
            signature = built[signatures.PREDICT_IMAGES]
            yield Predictor(session, signature, data.class_names, data.pictures)


@contextlib.contextmanager
def from_export(export_dir: str) -> Iterator[Predictor]:
    """A predictor with a SavedModel that `saved_model.export` has written.

    Raises:
      InputError: if there is none.
      RunError: if it cannot be loaded.
    """
    names = _class_names_of(export_dir)
    with sessions.load(export_dir, signatures.PREDICT_IMAGES) as (session, signature):
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
    """Reads the class names of an export, a line each.

    Raises:
      InputError: if the file is missing.
      RunError: if it is not UTF-8.
    """
    path = _names_file(export_dir)
    names = _content(path)
    if names is None:
        raise InputError(
            f"--export_dir: found no {path}, expected an exported model, as "
            "MODEL_DIR/export/best/STEP"
        )
    try:
        # Not splitlines, which splits at more characters. A name may contain them.
        return names.decode("utf-8").removesuffix("\n").split("\n")
    except ValueError:
        raise RunError(f"{path}: damaged, expected UTF-8; export the model again") from None


def _pictures_of(export_dir: str) -> str:
    """Reads how an exported model prepares pictures.

    Raises:
      RunError: if its file is damaged, or names a way that this version does not know.
    """
    path = os.path.join(export_dir, saved_model.EXTRA_FOLDER, saved_model.MODEL_FILE)
    data = _content(path)
    try:
        model = json_files.expect(json_files.parse(data or b"{}"), dict, "the whole")
        # Earlier versions export without it, and prepare pictures of digits only.
        return json_files.choice(model.get("pictures", DIGIT), "pictures", PICTURES)
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); export the model again") from None


def _content(path: str) -> bytes | None:
    with file_errors(path):
        return files.read_bytes(path, json_files.MOST_BYTES)


@contextlib.contextmanager
def _capture_decoder_lines(doubts: list[str]) -> Iterator[None]:
    """Keeps what decoders write off standard error: their lines name no file.

    Args:
      doubts: takes the lines about damage that did not stop the decoder.
    """
    with contextlib.ExitStack() as stack:
        # There may be no standard error, and no room for a temporary file.
        with contextlib.suppress(OSError):
            written = stack.enter_context(tempfile.TemporaryFile())
            stderr = stack.enter_context(open(os.dup(2), "wb"))
            os.dup2(written.fileno(), 2)
            stack.callback(_sort_lines, written, doubts)
            stack.callback(os.dup2, stderr.fileno(), 2)
        yield


def _sort_lines(written: IO[bytes], doubts: list[str]) -> None:
    """Adds lines about damage to `doubts`; prints those that are not from a decoder."""
    written.seek(0)
    for line in written.read().decode("utf-8", "replace").splitlines():
        if _DAMAGE.match(line):
            doubts.append(line)
        if _VERBOSE or (_LOGGED.match(line) and not _DECODERS.search(line)):
            progress.say(line, sys.stderr)


_VERBOSE = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
_LOGGED = re.compile(r"[EF]\d{4} |\d{4}-\d\d-\d\d ")  # By TensorFlow 2.21, and by 2.15.
_DECODERS = re.compile(r"\b(jpeg_mem|png_io|gif_io)\.cc\b")
# libjpeg's lines. Bytes between a scan and the end do no harm; `decoding` itself may add some.
_DAMAGE = re.compile(r"Corrupt JPEG data: (?!\d+ extraneous bytes before marker 0x(d9|01))")


def _decoder_line(error: tf.errors.OpError) -> str:
    # An error of nested ops names the innermost reason first.
    line = error_line(error)
    return line.split("{{node")[0].strip(" ,;[") or line
