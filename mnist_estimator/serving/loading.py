"""How a program loads what was exported: the lines that a model card shows for each format."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator

from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.runtime import files

SAVED_MODEL, TFLITE, ONNX = "saved_model", "tflite", "onnx"

_ONE_TO_WHITE = "float32 images, each from 0 to {white} or from 0 to 1."
_BYTES = "uint8 images, from 0 to {white}."


@dataclasses.dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
      kind: one of the formats above.
      file: name of the file, or of the SavedModel's folder.
      dtype: numpy's name of the type that the images have.
      sha256: of the file; "" for a SavedModel, whose checkpoint has a digest.
    """

    kind: str
    file: str
    dtype: str = "float32"
    sha256: str = ""

    @property
    def library(self) -> str:
        """The name of the library that reads it, as the Hugging Face hub has it."""
        return "tensorflow" if self.kind == SAVED_MODEL else self.kind

    @property
    def what(self) -> str:
        """What a card describes."""
        if self.kind == SAVED_MODEL:
            return "the SavedModel in this folder"
        return f"one file, of sha256 `{self.sha256}`"

    @property
    def takes(self) -> str:
        """The images that it takes, with `{white}` for the value of white."""
        if self.kind == TFLITE:
            return f"{self.dtype} images, from 0 to {{white}}. It does not check them."
        return _BYTES if self.dtype == "uint8" else _ONE_TO_WHITE


def of_file(kind: str, path: str, dtype: str) -> Export:
    """What a file is.

    Raises:
      InputError: if it cannot be read.
    """
    _, digest = files.size_and_sha256(path)
    return Export(kind, os.path.basename(path), dtype, digest)


def lines(export: Export, data: TrainedOn) -> Iterator[str]:
    """Markdown that says how to load an export, in five lines of Python."""
    yield "```python"
    yield from _PYTHON[export.kind](export, f"[1, {', '.join(map(str, data.image_shape))}]")
    yield "```"
    if export.kind == SAVED_MODEL:
        yield ""
        yield "Or with TensorFlow Serving, from this folder:"
        yield ""
        yield "```sh"
        yield from _serving(export, data)
        yield "```"


def _tensorflow(export: Export, shape: str) -> Iterator[str]:
    yield "import tensorflow as tf"
    yield 'model = tf.saved_model.load(".")'
    yield f"images = tf.zeros({shape})"
    yield 'answers = model.signatures["serving_default"](images=images)'
    yield 'print(answers["classes"].numpy(), answers["probabilities"].numpy())'


def _tflite(export: Export, shape: str) -> Iterator[str]:
    yield "import numpy as np, tensorflow as tf"
    yield f"model = tf.lite.Interpreter({export.file!r}).get_signature_runner()"
    yield f"images = np.zeros({shape}, np.{export.dtype})"
    yield 'probabilities = model(images=images)["probabilities"]'
    yield "print(probabilities.argmax(axis=1), probabilities)"


def _onnx(export: Export, shape: str) -> Iterator[str]:
    yield "import numpy as np, onnxruntime"
    yield f"model = onnxruntime.InferenceSession({export.file!r})"
    yield f"images = np.zeros({shape}, np.{export.dtype})"
    yield 'classes, probabilities = model.run(["classes", "probabilities"], {"images": images})'
    yield "print(classes, probabilities)"


_PYTHON = {SAVED_MODEL: _tensorflow, TFLITE: _tflite, ONNX: _onnx}


def _serving(export: Export, data: TrainedOn) -> Iterator[str]:
    height, width, channels = data.image_shape
    place = shlex.quote(f"/models/model/{export.file}")
    yield f'docker run -d -p 8501:8501 -v "$PWD":{place} tensorflow/serving'
    yield f"python -c 'import json; image = [[[0] * {channels}] * {width}] * {height}"
    yield 'print(json.dumps({"instances": [image]}))\' > request.json'
    yield "curl -d @request.json http://localhost:8501/v1/models/model:predict"
